"""The daemon itself: what happens between ``holdfast run`` and exit 0, in the order of ``docs/design.md``.

Start at ``daemon``; each other file is one step it takes.
"""
