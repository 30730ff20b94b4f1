"""Rules: their schema, how they are compiled, which rule a process matches, and the built-in rule files."""
