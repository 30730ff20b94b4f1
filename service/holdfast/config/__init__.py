"""The daemon's configuration. Every key is in `schema`; `load` turns files into settings.

``load → source (read) → yamldoc | tomldoc (lines) → migrate (containerd's shape) → merge → decode → check``. ``watch``
reports when to load again. Importing this imports no parser, and values are msgspec structs also inside: a dataclass
costs half a millisecond of every start.
"""

from holdfast.config.defaults import Defaults, own_defaults
from holdfast.config.finding import Finding, Remark
from holdfast.config.load import Loaded, Overrides, RefusedConfig, attempt, load, main_file, revived
from holdfast.config.quantity import Bytes, Duration
from holdfast.config.schema import Settings
from holdfast.config.section import Section, check_sections, decode_section, placed

__all__ = [
    "Bytes",
    "Defaults",
    "Duration",
    "Finding",
    "Loaded",
    "Overrides",
    "RefusedConfig",
    "Remark",
    "Section",
    "Settings",
    "attempt",
    "check_sections",
    "decode_section",
    "load",
    "main_file",
    "own_defaults",
    "placed",
    "revived",
]
