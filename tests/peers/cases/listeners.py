"""Sockets, addresses, certificates; and the command line."""

from __future__ import annotations

from tests.peers.case import Case, Seen, refused
from tests.peers.cases.looks import as_nobody, metrics_page, over_tcp
from tests.peers.cases.words import socket_file, sockets

LISTENERS = (
    Case("socket_mode", Seen(look="140660 140660"), look=socket_file),
    Case(
        "socket_too_long",
        refused(
            f'failed to get listener for main ttrpc endpoint: "/{"x" * 99}.ttrpc": unix socket path too long (> 104)'
        ),
        top='imports = ["@DIR@/more.toml"]',
        files={"more.toml": f"version = 2\n[grpc]\naddress = '/{'x' * 99}'"},
    ),
    Case(
        "address_flag",
        Seen(look="s.sock s.sock.ttrpc"),
        top='imports = ["@DIR@/more.toml"]',
        files={"more.toml": "version = 2\n[grpc]\naddress = '@DIR@/x.sock'"},
        arguments=("--address", "@DIR@/s.sock"),
        look=sockets,
    ),
    Case(
        "socket_is_a_directory",
        refused("failed to get listener for main endpoint: is a directory"),
        files={"s.sock/x": ""},
    ),
    Case("socket_is_a_file", Seen(look="140660 140660"), files={"s.sock": "precious"}, look=socket_file),
    Case(
        "socket_abstract",
        refused("failed to get listener for main ttrpc endpoint: chmod @hf.ttrpc: no such file or directory"),
        arguments=("--address", "@hf"),
    ),
    Case(
        "tcp_address",
        refused("failed to get listener for TCP grpc endpoint: listen tcp: address nonsense: missing port in address"),
        grpc='  tcp_address = "nonsense"',
    ),
    Case(
        "metrics_address",
        refused("failed to get listener for metrics endpoint: listen tcp: address nonsense: missing port in address"),
        tables='[metrics]\n address = "nonsense"',
    ),
    Case(
        "metrics_unix",
        refused(
            "failed to get listener for metrics endpoint: listen tcp: address @DIR@/m.sock: missing port in address"
        ),
        tables='[metrics]\n address = "@DIR@/m.sock"',
    ),
    Case("tcp_plain", Seen(look="UNIMPLEMENTED UNIMPLEMENTED"), grpc='  tcp_address = "127.0.0.1:0"', look=over_tcp),
    Case(
        "metrics",
        Seen(look="/metrics 404, /v1/metrics 200, no histogram"),
        tables='[metrics]\n address = "127.0.0.1:0"',
        look=metrics_page,
    ),
    Case(
        "metrics_histogram",
        Seen(look="/metrics 404, /v1/metrics 200, histogram"),
        tables='[metrics]\n address = "127.0.0.1:0"\n grpc_histogram = true',
        look=metrics_page,
    ),
    Case(
        "ttrpc_of_root",
        Seen(look="ttrpc PermissionError, gRPC refused"),
        grpc="  uid = 0\n  gid = 0",
        look=as_nobody,
        needs_root=True,
    ),
    Case(
        "ttrpc_of_a_group",
        Seen(look="ttrpc closed: refusing connection after handshake, gRPC answered"),
        grpc="  gid = 65534",
        look=as_nobody,
        needs_root=True,
    ),
    Case(
        "tls_cert_missing",
        refused("open @DIR@/none.pem: no such file or directory"),
        grpc='  tcp_address = "127.0.0.1:0"\n  tcp_tls_cert = "@DIR@/none.pem"\n  tcp_tls_key = "@DIR@/none.key"',
    ),
    Case(
        "tls_cert_missing_no_tcp",
        refused("open @DIR@/none.pem: no such file or directory"),
        grpc='  tcp_tls_cert = "@DIR@/none.pem"\n  tcp_tls_key = "@DIR@/none.key"',
    ),
)

COMMAND_LINE = (
    Case("flag", refused("flag provided but not defined: -bogus"), arguments=("--bogus",)),
    Case("stray_argument", Seen(), arguments=("bogus",)),
)
