"""Engines of the daemon's servers: sockets, the bounds of their peers, and the protocols behind them.

- `listening`: what a server is given to listen with; start here
- `sockets`, `trust`: unix and TCP sockets, and the directories that a unix socket may be in
- `front`, `acceptor`, `connections`, `peer`, `descriptors`: connections, and what peers may take of the daemon
- `http`: HTTP
- `ttrpc_layer`: the layer of `rpc` around ttrpc
"""
