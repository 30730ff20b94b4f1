"""The daemon itself: what happens between ``holdfast run`` and exit 0, in the order of ``docs/design.md``.

The life of the daemon:

- `daemon`: boots, serves, reloads and drains; start here
- `build`: the steps of the boot
- `directories`, `lock`, `trust`: its directories, and one daemon for each
- `self_limits`: its own oom_score_adj and cgroup
- `start`, `readiness`, `faults`: starts of plugins, plugins that are not ready yet, plugins that stopped working
- `blocked`: names a plugin that blocks the loop
- `tasks`, `signals`, `notify`: tasks, signal handlers, messages to systemd
- `reload`, `last_good`: a changed configuration, and the last one that took effect

Its servers:

- `listeners`: the servers, in their order
- `sockets`: unix sockets
- `front`, `acceptor`, `connections`, `peer`, `descriptors`: TCP connections, and what peers may take of the daemon
- `http`, `pages`, `thread_dump`: the endpoints for metrics and for debugging
- `web`: the endpoint for browsers, whose pages plugins register
- `ttrpc_layer`: the layer of `rpc` around ttrpc
- `absent`: the answer for services of containerd that holdfast does not have
"""
