"""The metadata database: one sqlite file.

- `database`: the thread of the changes, and the readers
- `schema`: the tables, and the migrations of older files
- `reserve`: space that is kept for removals on a full disk
"""
