"""The kit for plugin authors.

Start at ``docs/first-plugin.md``, then read ``holdfast/plugins/containerd/version.py``.

- `decorator`: ``@plugin``, ``@server``
- `registration`: a plugin before it starts
- `context`: what its init receives
- `services`: what its instance may offer
- `serving`: what serves, for health
- `graph`: the order of the starts
- `loaded`: the result of each start
"""

from holdfast.config import Remark
from holdfast.errors import SkipPlugin
from holdfast.plugin.context import InitContext
from holdfast.plugin.decorator import plugin, server
from holdfast.plugin.loaded import PluginSet, PluginState, State
from holdfast.plugin.registration import EVERYTHING, Endpoint, Kind, Registration
from holdfast.plugin.services import Registrar

__all__ = [
    "EVERYTHING",
    "Endpoint",
    "InitContext",
    "Kind",
    "PluginSet",
    "PluginState",
    "Registrar",
    "Registration",
    "Remark",
    "SkipPlugin",
    "State",
    "plugin",
    "server",
]
