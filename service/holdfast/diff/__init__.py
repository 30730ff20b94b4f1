"""Layers: apply a tar to mounts, write the difference of two trees as a tar. `unpack` lists the refused entries."""

from holdfast.diff.mount import Mount
from holdfast.diff.unpack import Devices
from holdfast.diff.walking import Layer, LayerLimits, WalkingDiffer, Wanted

__all__ = ["Devices", "Layer", "LayerLimits", "Mount", "WalkingDiffer", "Wanted"]
