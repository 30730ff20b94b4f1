"""The journal: the original state of everything that was changed."""
