"""containerd's filter language: `parse_all` the caller's filters once, then ask the `Filter` of anything with fields.

Open ``grammar`` for what may be written, ``match`` for what it means, ``expression`` for the regular expressions.
"""

from holdfast.filters.match import EVERYTHING, Adaptor, Filter, parse_all

__all__ = ["EVERYTHING", "Adaptor", "Filter", "parse_all"]
