"""Every key of the daemon's configuration: meaning, unit, range, default. The documentation and the JSON Schema
are printed from these types (``docs/configuration.md``, ``holdfast config schema``).

containerd's keys keep containerd's names. Paths and addresses here are root's; `defaults` has those of other users.
"""

# No `from __future__ import annotations` here: msgspec would compile each annotation again, 5 ms of every start.
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from holdfast.config.quantity import Bytes, Duration

CONFIG_FILE = "/etc/holdfast/config.yaml"
SOCKET_NAME = "holdfast.sock"
TTRPC_SUFFIX = ".ttrpc"
MAX_SOCKET_PATH = 104  # bytes; containerd's limit, 3 below Linux's sun_path
OOM_RANGE = (-1000, 1000)  # of oom_score_adj, man 5 proc
MAX_ID = 2**32 - 2  # (uid_t)-1 is no user's number
TIMEOUT_PREFIX = "io.holdfast.timeout."

Uid = Annotated[int, Meta(ge=-1, le=MAX_ID, description="owner of the socket; -1: the daemon's own effective user")]
Gid = Annotated[int, Meta(ge=-1, le=MAX_ID, description="group of the socket; -1: the daemon's own effective group")]

#: Our timeouts: name after the prefix → default in seconds, meaning. 0 waits forever.
TIMEOUTS: dict[str, tuple[float, str]] = {
    "plugin.init": (60.0, "one plugin's start, and its close; a plugin that takes longer has failed"),
    "plugin.ready": (60.0, "until every plugin that asked for it is ready, before the boot goes on without it"),
    "shutdown.grace": (10.0, "for calls in flight after SIGTERM, before they are cut"),
}


def default_timeouts() -> dict[str, float]:
    """Our timeouts by full name, in seconds."""
    return {TIMEOUT_PREFIX + name: seconds for name, (seconds, _) in TIMEOUTS.items()}


class Keepalive(Struct, frozen=True, forbid_unknown_fields=True):
    """Detection of peers that are gone: HTTP/2 pings, and limits of a connection's age."""

    time: Annotated[Duration, Meta(ge=0, description="idle time after which a client is pinged; 0: never")] = 7200.0
    timeout: Annotated[Duration, Meta(ge=0, description="time a ping's answer may take")] = 20.0
    permit_without_calls: Annotated[bool, Meta(description="also ping connections without a call in flight")] = False
    min_ping_interval: Annotated[
        Duration, Meta(ge=0, description="a client that pings more often, while no call is in flight, is cut off")
    ] = 300.0
    max_connection_idle: Annotated[
        Duration, Meta(ge=0, description="a connection without calls is closed after this time; 0: never")
    ] = 0.0
    max_connection_age: Annotated[
        Duration, Meta(ge=0, description="a connection is closed, gently, after this time; 0: never")
    ] = 0.0
    max_connection_age_grace: Annotated[
        Duration,
        Meta(
            ge=0,
            description="time calls in flight still have then; 0: as long as they take",
        ),
    ] = 0.0


class Grant(Struct, frozen=True, forbid_unknown_fields=True):
    """More than reading over TCP, for clients whose certificate names them."""

    identities: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            min_length=1,
            description=(
                "names in the client's certificate, * matches any text: a subject alternative name (URI, DNS name,"
                " e-mail, IP address) as it is, or the subject's common name as CN=name"
            ),
            examples=[["spiffe://example.org/ns/ops/*", "CN=fleet-operator"]],
        ),
    ]
    methods: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^(\*|/[A-Za-z0-9_.*]+/[A-Za-z0-9_*]+)$")], ...],
        Meta(
            min_length=1,
            description="methods they may call, as /package.Service/Method; * matches any text",
            examples=[["/holdfast.placement.v1.Placement/*"]],
            extra={"expected": "/package.Service/Method or *"},
        ),
    ]


class Grpc(Struct, frozen=True, forbid_unknown_fields=True):
    """The gRPC servers: the unix socket for the node, TCP for the fleet."""

    address: Annotated[str, Meta(description="unix socket, a path or unix://path; made with mode 0660")] = (
        f"/run/holdfast/{SOCKET_NAME}"
    )
    uid: Uid = -1
    gid: Gid = -1
    tcp_address: Annotated[
        str,
        Meta(
            description=(
                "host:port to serve on over TCP as well; empty: not. Without a grant only methods that read, and none"
                " of content, images, containers, leases and namespaces, command lines (Explain), events and this"
                " configuration"
            ),
            examples=["0.0.0.0:7420"],
        ),
    ] = ""
    tcp_tls_cert: Annotated[str, Meta(description="PEM file of the server's certificate chain; empty: plaintext")] = ""
    tcp_tls_key: Annotated[str, Meta(description="PEM file of the certificate's private key")] = ""
    tcp_tls_ca: Annotated[
        str,
        Meta(description="PEM file of the authorities that sign clients; empty: no client certificate is requested"),
    ] = ""
    insecure: Annotated[bool, Meta(description="allow plaintext TCP beyond the loopback interface")] = False
    grants: Annotated[
        tuple[Grant, ...], Meta(description="clients that may call more over TCP than other clients; needs tcp_tls_ca")
    ] = ()
    health_address: Annotated[
        str,
        Meta(
            description=(
                "host:port that serves grpc.health.v1 and nothing else, in plaintext, for probes without TLS;"
                " empty: none"
            ),
            examples=["0.0.0.0:7421"],
        ),
    ] = ""
    reflection: Annotated[bool, Meta(description="serve gRPC reflection, for grpcurl and similar clients")] = True
    max_recv_message_size: Annotated[
        Bytes, Meta(ge=0, le=2**31 - 1, description="largest message accepted; 0: gRPC's own limit, 4Mi")
    ] = 16 << 20
    max_send_message_size: Annotated[
        Bytes, Meta(ge=0, le=2**31 - 1, description="largest message sent; 0: no limit")
    ] = 16 << 20
    max_concurrent_rpcs: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description=(
                "calls at a time, more get RESOURCE_EXHAUSTED; over TCP at most a quarter of them, and 256; 0: no limit"
                " but TCP's"
            ),
        ),
    ] = 1024
    keepalive: Annotated[Keepalive, Meta(description="pings and connection ages")] = Keepalive()


class Ttrpc(Struct, frozen=True, forbid_unknown_fields=True):
    """The ttrpc server, for shims and other small programs of the same user."""

    address: Annotated[str, Meta(description="unix socket; empty: grpc.address + .ttrpc, with grpc's uid and gid")] = ""
    uid: Uid = -1
    gid: Gid = -1


class Debug(Struct, frozen=True, forbid_unknown_fields=True):
    """The log, and an endpoint for diagnostics. The endpoint does not authenticate its clients."""

    address: Annotated[
        str, Meta(description="absolute path (unix socket) or host:port of the debug endpoint; empty: none")
    ] = ""
    uid: Uid = -1
    gid: Gid = -1
    level: Annotated[
        str, Meta(description="least severe level that is logged: trace, debug, info, warn, error, fatal or panic")
    ] = "info"
    format: Annotated[str, Meta(description="form of the log lines: text (logfmt) or json")] = "text"


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Prometheus metrics over HTTP, at /metrics and /v1/metrics."""

    address: Annotated[str, Meta(description="host:port; empty: none")] = "127.0.0.1:9420"
    grpc_histogram: Annotated[bool, Meta(description="also measure how long each method takes")] = False
    grpc_zero_series: Annotated[
        bool,
        Meta(
            description=(
                "also the series of methods that were not called yet, at zero, as in go-grpc-prometheus: a rate is"
                " defined before the first call. They are nine tenths of the series of an idle daemon"
            )
        ),
    ] = True


class Web(Struct, frozen=True, forbid_unknown_fields=True):
    """A read-only page about the node, for a browser. Its clients are not authenticated, so it listens on this machine
    alone.
    """

    address: Annotated[
        str,
        Meta(
            description=(
                "host:port on the loopback interface, or absolute path (unix socket); empty: none. Any user of the"
                " machine reaches a port, so command lines are only on the unix socket's page"
            ),
            examples=["/run/holdfast/web.sock"],
        ),
    ] = "127.0.0.1:9421"
    uid: Uid = -1
    gid: Gid = -1


class Tracing(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry traces; the standard OTEL_* environment variables set where they go."""

    ratio: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="share of new traces that is recorded; null: OTEL_TRACES_SAMPLER decides"),
    ] = None
    parent_based: Annotated[bool, Meta(description="follow the caller's decision where the call carries one")] = True


class Cgroup(Struct, frozen=True, forbid_unknown_fields=True):
    """The daemon's own cgroup."""

    path: Annotated[
        str,
        Meta(
            description="cgroup the daemon puts itself into at start, made if missing; empty: stays where it is",
            examples=["/holdfast"],
        ),
    ] = ""


class ProxyPlugin(Struct, frozen=True, forbid_unknown_fields=True):
    """A plugin that runs in another process and is reached over gRPC."""

    type: Annotated[
        Literal["snapshot", "content", "diff", "sandbox"],
        Meta(description="containerd's kinds of proxy plugin"),
    ]
    address: Annotated[str, Meta(min_length=1, description="unix socket of its gRPC server")]
    platform: Annotated[str, Meta(description="platform it works for; empty: this one", examples=["linux/amd64"])] = ""
    exports: Annotated[dict[str, str], Meta(description="values that introspection shows beside its address")] = field(
        default_factory=dict
    )
    capabilities: Annotated[tuple[str, ...], Meta(description="capabilities introspection shows")] = ()


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration of one daemon."""

    version: Annotated[
        int,
        Meta(ge=2, le=2, description="version of the format, containerd's 2: plugins have whole URIs"),
    ] = 2
    root: Annotated[str, Meta(description="directory for what must survive a restart; made with mode 0700")] = (
        "/var/lib/holdfast"
    )
    state: Annotated[str, Meta(description="directory for what must not survive a reboot; made with mode 0711")] = (
        "/run/holdfast"
    )
    temp: Annotated[str, Meta(description="directory for temporary files, set as TMPDIR; empty: the system's")] = ""
    oom_score: Annotated[
        int,
        Meta(
            ge=-(2**31),
            le=2**31 - 1,
            description="oom_score_adj the daemon gives itself; 0: left alone. Below 0 needs CAP_SYS_RESOURCE",
            extra={"range": "-1000 to 1000", "expected": "an integer between -1000 and 1000"},
        ),
    ] = 0
    cgroup: Annotated[Cgroup, Meta(description="the daemon's own cgroup")] = Cgroup()
    grpc: Annotated[Grpc, Meta(description="the gRPC servers")] = Grpc()
    ttrpc: Annotated[Ttrpc, Meta(description="the ttrpc server")] = Ttrpc()
    debug: Annotated[Debug, Meta(description="log and debug endpoint")] = Debug()
    metrics: Annotated[Metrics, Meta(description="Prometheus metrics")] = Metrics()
    web: Annotated[Web, Meta(description="a page for a browser")] = Web()
    tracing: Annotated[Tracing, Meta(description="OpenTelemetry traces")] = Tracing()
    required_plugins: Annotated[
        tuple[str, ...],
        Meta(
            description="URIs of plugins the daemon does not start without",
            examples=[["io.holdfast.placement.v1.rules"]],
        ),
    ] = ()
    disabled_plugins: Annotated[tuple[str, ...], Meta(description="URIs of plugins that are not started")] = ()
    imports: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "files read after this one, relative to it, * as in a shell; conf.d/*.yaml beside the main file"
                " is always imported, last"
            ),
            examples=[["local.yaml", "site/*.yaml"]],
        ),
    ] = ()
    timeouts: Annotated[
        dict[str, Annotated[Duration, Meta(ge=0)]],
        Meta(description="by name, 0 waits forever; containerd's names are accepted"),
    ] = field(default_factory=default_timeouts)
    proxy_plugins: Annotated[
        dict[str, ProxyPlugin], Meta(description="plugins in other processes, by the id they get here")
    ] = field(default_factory=dict)
    plugins: Annotated[dict[str, dict[str, Any]], Meta(description="each plugin's own section, by its URI")] = field(
        default_factory=dict
    )

    @property
    def ttrpc_address(self) -> str:
        """The ttrpc socket's path, also where it follows from the gRPC one."""
        return self.ttrpc.address or self.grpc.address + TTRPC_SUFFIX

    @property
    def ttrpc_owner(self) -> tuple[int, int]:
        """Uid and gid of the ttrpc socket: gRPC's where the address follows from gRPC's."""
        owner = self.ttrpc if self.ttrpc.address else self.grpc
        return owner.uid, owner.gid

    def timeout_s(self, name: str) -> float:
        """Seconds of a timeout, by its name with or without our prefix; 1 for an unknown name, as in containerd."""
        return self.timeouts.get(TIMEOUT_PREFIX + name, self.timeouts.get(name, 1.0))
