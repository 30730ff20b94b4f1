"""The ``holdfast`` command: one module for a group of subcommands, imported when its command is called.

- `main`, `commands`: the command itself, and the table of subcommands
- `group`: the table as click sees it
- `run`: the daemon
- `config`, `rules`: configuration files, rules
- `placement`, `victims`, `top`: what the daemon does with processes, and what the OOM killer would do
- `bundle`, `pull`: bundles, and the copy of one into a daemon's content
- `events`, `health`, `plugins`, `version`: the other services of a daemon
- `completion`: the shell's completion
- `client`: the daemon's address, output and errors, for all client commands
- `table`: output for people and for programs
"""
