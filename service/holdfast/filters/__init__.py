"""containerd's filter language: `parse_all` the caller's filters once, then match the `Filter` with any object.

- `grammar`: the syntax
- `match`: the meaning; RE2 has the regular expressions
"""

from holdfast.filters.match import EVERYTHING, Adaptor, Filter, parse_all

__all__ = ["EVERYTHING", "Adaptor", "Filter", "parse_all"]
