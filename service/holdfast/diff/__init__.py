"""Layers: apply a tar to mounts, write the difference of two trees as a tar.

- `walking`: the differ; start here
- `unpack`: a layer's entries into files; its docstring lists the entries that are refused
- `change`, `pack`: the changes between two trees, and the layer that has them
- `archive`, `header`: a tar as a stream, and one header of it
- `compression`: media types
- `tree`: a directory tree that no walk leaves
- `mount`, `kernel`: mounts, and the system calls that Python lacks
- `bridge`: content on the loop, read and written by a thread
"""

from holdfast.diff.mount import Mount
from holdfast.diff.unpack import Devices
from holdfast.diff.walking import Layer, LayerLimits, WalkingDiffer, Wanted

__all__ = ["Devices", "Layer", "LayerLimits", "Mount", "WalkingDiffer", "Wanted"]
