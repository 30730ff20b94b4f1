# ruff: noqa: E501 (a row of a table stays a row)
import pytest
from holdfast.config import Overrides, load
from holdfast.config.check import check_host_port, is_loopback
from holdfast.config.load import Environment
from holdfast.errors import ConfigError, InvalidArgument

ROOT = Environment(0, {}, "/")


def outcome(tmp_path, text, suffix="yaml"):
    path = tmp_path / f"c.{suffix}"
    path.write_text(text)
    try:
        loaded = load(path, Overrides(), ROOT)
    except ConfigError as error:
        return str(error).replace(str(path), "P")
    return [str(line).replace(str(path), "P") for line in loaded.warnings]


LONG = "/" + "x" * 103


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("root: ''", "P:1: root: root must be specified"),
        ("state: ''", "P:1: state: state must be specified"),
        ("root: /x\nstate: /x", "P:2: state: root and state must be different paths"),
        ("root: /x\nstate: /x/", "P:2: state: root and state must be different paths"),
        ("grpc: {address: ''}", "P:1: grpc.address: grpc address cannot be empty: invalid argument"),
        (f"grpc:\n  address: {LONG}", f'P:2: grpc.address: "{LONG}.ttrpc": unix socket path too long (> 104)'),
        (
            f"grpc: {{address: {LONG}x}}\nttrpc: {{address: /t}}",
            f'P:1: grpc.address: "{LONG}x": unix socket path too long (> 104)',
        ),
        (f"ttrpc: {{address: {LONG}x}}", f'P:1: ttrpc.address: "{LONG}x": unix socket path too long (> 104)'),
        (f"debug: {{address: {LONG}x}}", f'P:1: debug.address: "{LONG}x": unix socket path too long (> 104)'),
        (f"web: {{address: {LONG}x}}", f'P:1: web.address: "{LONG}x": unix socket path too long (> 104)'),
        (
            "web: {address: ':9421'}",
            "P:1: web.address: :9421: the page has no authentication: listen on 127.0.0.1 or a unix socket, and use a tunnel",
        ),
        (
            "web: {address: 'node:9421'}",
            "P:1: web.address: node:9421: the page has no authentication: listen on 127.0.0.1 or a unix socket, and use a tunnel",
        ),
        ("web: {address: '127.0.0.1'}", "P:1: web.address: listen tcp: address 127.0.0.1: missing port in address"),
        (
            "grpc: {address: '@abstract'}",
            'P:1: grpc.address: "@abstract": an abstract socket has no owner and no mode; give a path',
        ),
        (
            "grpc: {address: 'tcp://127.0.0.1:1'}",
            "P:1: grpc.address: tcp://127.0.0.1:1 is no unix socket; TCP is grpc.tcp_address",
        ),
        (
            "grpc: {address: /a}\nttrpc: {address: /a}",
            "P:2: ttrpc.address: is grpc.address; the two need a socket each",
        ),
        (
            "grpc: {tcp_address: nonsense}",
            "P:1: grpc.tcp_address: listen tcp: address nonsense: missing port in address",
        ),
        (
            "metrics: {address: /run/x.sock}",
            "P:1: metrics.address: listen tcp: address /run/x.sock: missing port in address",
        ),
        ("metrics: {address: '1:2:3'}", "P:1: metrics.address: listen tcp: address 1:2:3: too many colons in address"),
        (
            "debug: {address: 'localhost:99999'}",
            "P:1: debug.address: listen tcp: address localhost:99999: invalid port",
        ),
        (
            "grpc: {health_address: '7421'}",
            "P:1: grpc.health_address: listen tcp: address 7421: missing port in address",
        ),
        (
            "grpc: {tcp_address: ':7420'}",
            "P:1: grpc.tcp_address: :7420: plaintext beyond the loopback interface: set grpc.tcp_tls_cert, or grpc.insecure: true",
        ),
        ("debug: {level: laud}", 'P:1: debug.level: not a valid logrus Level: "laud"'),
        ("debug: {level: inof}", 'P:1: debug.level: not a valid logrus Level: "inof"; did you mean "info"?'),
        ("debug: {format: xml}", "P:1: debug.format: unknown log format: xml"),
        ("oom_score: 1001", "P:1: oom_score: expected an integer between -1000 and 1000, got 1001"),
        (
            "grpc: {tcp_tls_cert: /c}",
            "P:1: grpc.tcp_tls_cert: open : no such file or directory: set grpc.tcp_tls_key as well",
        ),
        (
            "grpc: {tcp_tls_ca: /c}",
            "P:1: grpc.tcp_tls_ca: client certificates are not requested without a certificate of our own: set grpc.tcp_tls_cert",
        ),
        (
            "grpc:\n  grants: [{identities: [x], methods: ['*']}]",
            "P:2: grpc.grants: no client can prove its identity without grpc.tcp_tls_ca",
        ),
        ("cgroup: {path: /a/../../b}", 'P:1: cgroup.path: "/a/../../b" leads out of the cgroup tree'),
        (
            "disabled_plugins:\n- a.b.c.d\n- cri",
            'P:3: disabled_plugins: invalid disabled plugin URI "cri" expect io.containerd.x.vx',
        ),
        (
            "required_plugins: [cri]",
            'P:1: required_plugins: invalid required plugin URI "cri" expect io.containerd.x.vx',
        ),
        ("plugins: {cri: {}}", 'P:1: plugins: invalid plugin key URI "cri" expect io.containerd.x.vx'),
        (
            "timeouts:\n  io.holdfast.timeout.plugin.redy: 1s",
            'P:2: timeouts."io.holdfast.timeout.plugin.redy": unknown timeout; did you mean "io.holdfast.timeout.plugin.ready"?',
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, text, line):
    assert outcome(tmp_path, text) == line


@pytest.mark.parametrize(
    "text",
    [
        f"grpc: {{address: {LONG[:-6]}}}",
        f"grpc: {{address: {LONG}}}\nttrpc: {{address: /t}}",
        "grpc: {tcp_address: 'tcp://127.0.0.1:7420'}\nmetrics: {address: ':0'}\ndebug: {address: 'tcp://[::1]:1'}",
        "grpc: {tcp_address: ':7420', insecure: true}",
        "web: {address: '127.0.0.1:9421'}",
        "web: {address: '[::1]:9421'}",
        "web: {address: 'localhost:9421'}",
        "web: {address: unix:///run/holdfast/web.sock}",
        "grpc: {tcp_address: ':7420', tcp_tls_cert: /c, tcp_tls_key: /k, tcp_tls_ca: /a, grants: [{identities: [CN=x], methods: [/a.B/*]}]}",
        "metrics: {address: ''}",
        "debug: {level: '', format: ''}",
        "debug: {level: WARN, format: json}",
        "oom_score: -1000",
        "timeouts: {io.containerd.timeout.task.state: 2s, org.example: 0}",
        "plugins: {io.containerd.gc.v1.scheduler: null}",
    ],
)
def test_what_makes_sense_is_taken_without_a_word(tmp_path, text):
    assert outcome(tmp_path, text) == []


def test_containerd_boots_with_these_so_they_are_warnings_in_toml(tmp_path):
    assert outcome(tmp_path, "oom_score = 1001\n[grpc]\ntcp_tls_ca = '/c'\n", "toml") == [
        "P:1: oom_score: expected an integer between -1000 and 1000, got 1001",
        "P:3: grpc.tcp_tls_ca: client certificates are not requested without a certificate of our own: set grpc.tcp_tls_cert",
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("node:1", False),
        ("[fe80::1%lo]:1", False),
    ],
)
def test_only_an_address_of_this_machine_is_loopback(address, expected):
    assert is_loopback(address) is expected


@pytest.mark.parametrize("address", ["x", "[::1]", "::1:5", "x:", "x:port", "x:-1", "x:65536", "x:٣"])
def test_what_cannot_be_listened_on_is_refused(address):
    with pytest.raises(InvalidArgument, match="address"):
        check_host_port(address)
