"""The ``holdfast`` command: one module a group of subcommands, imported when its command is called."""
