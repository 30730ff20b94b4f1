"""Engines of the daemon's servers: sockets, the bounds of their peers, and the protocols behind them.

- `listening`: what a server is given to listen with; start here
- `sockets`: unix and TCP sockets
- `front`, `acceptor`, `connections`, `peer`, `descriptors`: connections, and what peers may take of the daemon
- `rounds`, `cut_calls`: how many connections come to a gRPC server, and how many calls a peer may cut
- `http`: HTTP
- `ttrpc_layer`: the layer of `rpc` around ttrpc
"""
