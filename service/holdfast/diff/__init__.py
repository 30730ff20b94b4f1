"""Layers: a tar applied to mounts, the difference of two trees written as one. Open `unpack` for what is refused."""

from holdfast.diff.mount import Mount
from holdfast.diff.unpack import Devices
from holdfast.diff.walking import Layer, Limits, WalkingDiffer, Wanted

__all__ = ["Devices", "Layer", "Limits", "Mount", "WalkingDiffer", "Wanted"]
