"""The journal: the original state of everything that was changed.

- `rows`: what one row says
- `table`: the rows in memory
- `line`: a row in the file
- `journal`: the file
"""
