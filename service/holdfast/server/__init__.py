"""The daemon itself: what happens between ``holdfast run`` and exit 0, in the order of ``docs/design.md``.

The life of the daemon:

- `daemon`: boots, serves, reloads and drains; start here
- `build`: the steps of the boot
- `directories`, `lock`: its directories, and one daemon for each
- `self_limits`: its own oom_score_adj and cgroup
- `start`, `readiness`, `faults`: starts of plugins, plugins that are not ready yet, plugins that stopped working
- `blocked`, `loop_lag`, `deadline`: name what blocks the loop, and end what ignores its cancellation
- `tasks`, `signals`, `notify`: tasks, signal handlers, messages to systemd
- `thread_dump`: the stacks of threads and tasks
- `reload`, `last_good`: a changed configuration, and the last one that took effect

Its servers:

- `addresses`: where they will listen, checked before anything starts
- `services`: the services of plugins, on the tables of the servers
- `servers`: starts them last, drains and closes them first
- `outgoing`: channels and clients for the calls that plugins make
- `absent`: the answer for services of containerd that holdfast does not have
"""
