"""The servers, as plugins, and the plugins that measure calls; `holdfast.listener` has their engines.

- `grpc`: the unix socket for the node; start here
- `grpc_tcp`: TCP for the fleet
- `health`: a port for probes
- `ttrpc`: ttrpc
- `metrics`, `debug`, `pages`: the endpoints for metrics and for debugging, and their pages
- `web`, `web_pages`: the endpoint for browsers, and what it adds to the pages of plugins
- `calls`: metrics and traces of calls
"""
