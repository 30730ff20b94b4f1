"""The node work: what a process is, which rule it falls under, what follows, and the one writer that does it.

An SRE starts at ``docs/placement.md``, then reads `rule.ruleset` and `plan.plan`.
"""
