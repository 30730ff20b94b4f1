"""The table of subcommands."""

from __future__ import annotations

#: Subcommand → ``module:attribute`` below ``holdfast.cli`` and the line ``--help`` shows for it.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Start the daemon."),
    "config": ("config:config", "Print, check and migrate configuration files; show what a daemon has in force."),
    "version": ("version:version", "Print the versions of the client and the daemon."),
    "health": ("health:health", "Ask whether the daemon, or one service, is serving."),
    "plugins": ("plugins:plugins", "List the daemon's plugins and what became of each."),
    "events": ("events:events", "Print events as they happen."),
    "publish": ("events:publish", "Publish an event."),
    "rules": ("rules:rules", "List the rules in force; print the built-in rules; import other tools' rules."),
    "ps": ("placement:ps", "List the processes under a rule."),
    "explain": ("placement:explain", "Say why a process is under the rule it is under."),
    "preview": ("placement:preview", "Say what the rules would write; nothing is written."),
    "victims": ("victims:victims", "Say who dies next if memory runs out."),
    "kills": ("victims:kills", "List OOM kills, or say why a process was killed."),
    "top": ("top:top", "Watch pressure, next victims, holds and events."),
    "hold": ("placement:hold", "Give one process a value by hand, for a time."),
    "release": ("placement:release", "End a hold by hand."),
    "restore": ("placement:restore", "Give back what was written."),
    "bundle": ("bundle:bundle", "Pull, apply, roll back and list bundles of rules and node files."),
    "completion": ("completion:completion", "Print the shell completion script."),
}
