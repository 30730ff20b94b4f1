"""Engines of the daemon's servers: sockets, the bounds of their peers, and the protocols behind them.

- `listening`: what a server is given to listen with; start here
- `sockets`: unix and TCP sockets
- `front`, `acceptor`, `connections`, `peer`, `descriptors`: connections, and what peers may take of the daemon
- `rounds`, `client_frames`, `shares`: how many connections come to a gRPC server, and what a peer's calls may cost
- `http`: HTTP
- `turns`: how much of the loop the peers of an HTTP listener take, and which is read next
- `ttrpc_layer`: the layer of `rpc` around ttrpc
"""
