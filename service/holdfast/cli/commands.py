"""The table of subcommands."""

from __future__ import annotations

#: Subcommand → ``module:attribute`` below ``holdfast.cli`` and the line ``--help`` shows for it.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Start the daemon."),
    "config": ("config:config", "Print, check and migrate configuration files; show what a daemon has in force."),
    "version": ("version:version", "Print the versions of the client and the daemon."),
    "health": ("health:health", "Check whether the daemon, or one service, is serving."),
    "plugins": ("plugins:plugins", "List the daemon's plugins and the state of each."),
    "events": ("events:events", "Print events as they happen."),
    "publish": ("events:publish", "Publish an event."),
    "rules": ("rules:rules", "List the rules in force; print the built-in rules; import other tools' rules."),
    "status": (
        "status:status",
        "Show on one screen how the daemon is, what it enforces, what is missing, what changed.",
    ),
    "ps": ("ps:ps", "List the processes under a rule."),
    "explain": ("placement:explain", "Explain which rule applies to a process, why, and what prevents each change."),
    "preview": ("placement:preview", "Show what the rules would write; nothing is written."),
    "victims": ("victims:victims", "Show which process the OOM killer would choose next."),
    "kills": ("victims:kills", "List OOM kills, or explain one."),
    "top": ("top:top", "Watch pressure, next victims, overrides and events."),
    "hold": ("placement:hold", "Override the rules for one process, for a limited time."),
    "release": ("placement:release", "End an override."),
    "restore": ("placement:restore", "Restore what was written."),
    "bundle": ("bundle:bundle", "Pull, apply, roll back and list bundles of rules and node files."),
    "new-plugin": ("new_plugin:new_plugin", "Make a project for a plugin, with code, a test and a package."),
    "options": ("options:options", "Print the options of every command that asks a daemon."),
    "completion": ("completion:completion", "Print the shell completion script."),
}
