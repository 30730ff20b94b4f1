"""The ``holdfast`` command: one module for a group of subcommands, imported when its command is called.

- `main`, `commands`: the command itself, and the table of subcommands
- `group`: the table as click sees it
- `run`: the daemon
- `config`, `rules`: configuration files, rules
- `status`: one screen about the daemon
- `ps`, `placement`, `victims`: what the daemon does with processes, and what the OOM killer would do
- `top`, `view`, `terminal`: the screen with keys: its loop, its content, and the terminal
- `bundle`, `pull`: bundles, and the copy of one into a daemon's content
- `events`, `health`, `plugins`, `version`: the other services of a daemon
- `new_plugin`: a project for a plugin; its files are below ``project/``
- `completion`, `suggestion`: the shell's completion, and the values that it offers
- `options`, `client`: the options of all client commands, and the connection that they describe
- `listing`, `table`: lists in every form and as they change; output for people and for programs
"""
