"""The daemon's configuration. Every key is in `schema`; `load` turns files into settings.

``load → source (read) → yamldoc | tomldoc (lines) → migrate (containerd's shape) → merge → decode → check``. Importing
this imports no parser, and values are msgspec structs also inside: a dataclass costs half a millisecond of every start.

- `schema`: every key, with its meaning, unit, range and default
- `load`: from files to settings
- `source`: reads the files
- `yamldoc`, `tomldoc`: parsers of both formats
- `document`: the nodes that they make, with file and line
- `migrate`, `servers`: containerd's files in our shape, and the sections of its server plugins
- `merge`: a later file over an earlier one
- `decode`: from nodes to structs
- `section`: the sections of plugins
- `check`, `finding`: rules between keys; warnings
- `watch`: reports when to load again
- `defaults`: directories and addresses of root and of other users
- `quantity`: times and sizes as people write them
- `describe`, `render`, `jsonschema`: a type in words, a configuration as YAML, the schema for editors
- `digest`: SHA-256 without OpenSSL
"""

from holdfast.config.defaults import Defaults, own_defaults
from holdfast.config.finding import Finding, Remark
from holdfast.config.load import Loaded, Overrides, RefusedConfig, attempt, load, main_file, revived
from holdfast.config.migrate import ConfigMigration
from holdfast.config.quantity import Bytes, Duration
from holdfast.config.schema import Settings
from holdfast.config.section import Section, check_sections, decode_section, placed

__all__ = [
    "Bytes",
    "ConfigMigration",
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
