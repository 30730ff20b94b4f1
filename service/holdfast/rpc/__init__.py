"""The gRPC layer around every method of the daemon: `layer` has the chain, `registrar` adds a service to it."""

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
