"""The node work: what a process is, which rule it falls under, what follows, and the one writer that does it.

An SRE starts at ``docs/placement.md``, then reads `rule.ruleset` and `plan.plan`.

- `model`: the values that the other packages pass around
- `proc`: reads the kernel
- `rule`: rules, and the rule that a process falls under
- `plan`: what follows from the rule
- `journal`: what was changed, and what was there before
- `apply`: writes it
- `engine`: the loop that does all of this for every process
- `oom`: the OOM killer
- `importers`: rules of other tools
"""
