"""Rules: their schema, how they are compiled, which rule a process matches, and the built-in rule files.

- `schema`: the keys of a rule
- `check`, `warnings`: what is wrong with a configuration, and what cannot be meant
- `compile`: from a configuration to a `ruleset`
- `ruleset`: the rule that a process falls under; start here
- `clause`, `pattern`, `selector`: one key of ``match``, its patterns, label selectors
- `quantity`, `setting`, `node_group`: numbers, the files that a rule may write, the groups that a node depends on
- `protection`: which parts of a rule need facts
- `annotation`: what a pod may ask for itself
- `file`: rules in a text of their own
- `builtin`: the built-in rule files
"""
