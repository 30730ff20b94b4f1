"""Importers of other tools' rules.

- `ananicy`: Ananicy's files
- `cgrules`: libcgroup's ``cgrules.conf``
- `imported`: the result of an import
"""
