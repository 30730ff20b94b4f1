"""The gRPC layer around every method of the daemon.

- `layer`, `call_scope`: the chain around a method, start here; the scope of one call
- `registrar`: adds a service to it
- `auth`, `tls`: authorization over TCP
- `draining`: calls in flight
- `counters`: metrics of calls
- `tracing`, `spans`: whether calls are traced, and the traces
- `status`: an error as a status
- `options`: the channel arguments of a server
"""

from holdfast.rpc.auth import policy
from holdfast.rpc.counters import Counters, MethodType
from holdfast.rpc.draining import Gate
from holdfast.rpc.layer import InterceptorLayer
from holdfast.rpc.options import PROBES, fleet_traffic, server_options, shared_traffic
from holdfast.rpc.registrar import GrpcRegistrar
from holdfast.rpc.tls import server_credentials
from holdfast.rpc.tracing import tracing_from

__all__ = [
    "PROBES",
    "Counters",
    "Gate",
    "GrpcRegistrar",
    "InterceptorLayer",
    "MethodType",
    "fleet_traffic",
    "policy",
    "server_credentials",
    "server_options",
    "shared_traffic",
    "tracing_from",
]
