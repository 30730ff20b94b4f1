"""The kit for plugin authors.

Start at ``docs/first-plugin.md``, then read ``holdfast/plugins/containerd/version.py``.
"""

from holdfast.config import Remark
from holdfast.errors import SkipPlugin
from holdfast.plugin.context import InitContext
from holdfast.plugin.decorator import plugin
from holdfast.plugin.loaded import PluginSet, PluginState, State
from holdfast.plugin.registration import EVERYTHING, Kind, Registration

__all__ = [
    "EVERYTHING",
    "InitContext",
    "Kind",
    "PluginSet",
    "PluginState",
    "Registration",
    "Remark",
    "SkipPlugin",
    "State",
    "plugin",
]
