"""Engines of the daemon's servers: sockets, the bounds of their peers, and the protocols behind them.

- `listening`: what a server is given to listen with; start here
- `sockets`: unix and TCP sockets
- `front`, `acceptor`, `connections`, `peer`, `descriptors`: connections, and what peers may take of the daemon
- `rounds`, `client_frames`, `shares`: how many connections come to a gRPC server, and what a peer's calls may cost
- `http`: HTTP
- `ttrpc_layer`: the layer of `rpc` around ttrpc
"""
