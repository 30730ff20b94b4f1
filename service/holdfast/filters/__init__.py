"""containerd's filter language: `parse_all` the caller's filters once, then match the `Filter` with any object.

- `grammar`: the syntax
- `match`: the meaning
- `expression`: the syntax of the regular expressions
- `automaton`, `characters`: their search, and their sets of characters
"""

from holdfast.filters.match import EVERYTHING, Adaptor, Filter, parse_all

__all__ = ["EVERYTHING", "Adaptor", "Filter", "parse_all"]
