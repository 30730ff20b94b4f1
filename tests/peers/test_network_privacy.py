"""A TCP client's view of the node, with mutual TLS, with and without a grant: each method, called for real."""

from __future__ import annotations

import subprocess
import sys
import threading

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from holdfast.api.config.v1 import config_pb2
from holdfast.api.placement.v1 import placement_pb2
from holdfast.api.services.events.v1 import events_pb2  # noqa: F401 (its descriptors, and those of the next two)
from holdfast.api.services.introspection.v1 import introspection_pb2  # noqa: F401
from holdfast.api.services.version.v1 import version_pb2  # noqa: F401

from tests.needs import peer
from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S

pytestmark = peer("openssl")

SECRET = "hunter2-and-more"
PLACEMENT = "holdfast.placement.v1.Placement"
CONFIGURED = "holdfast.config.v1.Config"
EXPLAIN = f"/{PLACEMENT}/Explain"
SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
CONFIG = """\
root: {dir}/root
state: {dir}/state
grpc:
  address: {dir}/s.sock
  tcp_address: 127.0.0.1:{port}
  tcp_tls_cert: {server}
  tcp_tls_key: {key}
  tcp_tls_ca: {ca}
  grants: [{grants}]
metrics: {{address: ""}}
web: {{address: ""}}
plugins:
  io.holdfast.placement.v1.rules:
    dry_run: true
    rules:
      - {{name: secretive, match: {{cmdline: "*{secret}*"}}, oom_score_adj: {{at_least: 300}}}}
"""
GRANT = "{{identities: ['CN=client'], methods: ['{}', '{}']}}"


@pytest.fixture
def secretive():
    """A process with a password on its command line."""
    command = [sys.executable, "-c", "print(flush=True); import sys; sys.stdin.read()", f"--password={SECRET}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.fixture
def connected(short_dir, certificates, free_port):
    """Starts a daemon with these grants, and gives channels to it: over TCP, and over the unix socket."""
    started = []

    def start(grants=""):
        port = free_port()
        config = short_dir / "config.yaml"
        files = {
            "server": certificates.cert("server"),
            "key": certificates.key("server"),
            "ca": certificates.cert("ca"),
        }
        config.write_text(CONFIG.format(dir=short_dir, port=port, grants=grants, secret=SECRET, **files))
        started.append(holdfast(short_dir, config).ready())
        credentials = grpc.ssl_channel_credentials(
            certificates.cert("ca").read_bytes(),
            certificates.key("client").read_bytes(),
            certificates.cert("client").read_bytes(),
        )
        channels = (
            grpc.secure_channel(f"127.0.0.1:{port}", credentials),
            grpc.insecure_channel(f"unix:{short_dir}/s.sock"),
        )
        started.extend(channels)
        return channels

    yield start
    for some in reversed(started):
        some.close() if hasattr(some, "close") else some.__exit__(None, None, None)


def answers(channel, method, pid):
    """Return one method's answer as bytes, of a stream what comes within a second of its headers; and the status."""
    if method.client_streaming:
        return b"", "skipped"
    request = message_factory.GetMessageClass(method.input_type)()
    if "pid" in method.input_type.fields_by_name:
        request.pid = pid
    name = f"/{method.containing_service.full_name}/{method.name}"
    call = channel.unary_stream(name)(request.SerializeToString(), timeout=PATIENCE_S)  # a unary answer is one of one
    call.initial_metadata()  # or its end: whether it is refused is known when this returns
    heard = threading.Timer(1, call.cancel)
    if method.server_streaming:
        heard.start()
    got = []
    try:
        got.extend(call)
    except grpc.RpcError as error:
        return b"".join(got) + (error.details() or "").encode(), error.code().name
    finally:
        heard.cancel()
    return b"".join(got), "OK"


def reading_methods():
    """Every method of ours that says it reads."""
    for service in (PLACEMENT, "containerd.services.events.v1.Events", "containerd.services.version.v1.Version",
                    "containerd.services.introspection.v1.Introspection", CONFIGURED):  # fmt: skip
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            if method.GetOptions().idempotency_level:
                yield method


def test_no_method_gives_a_command_line_over_tcp_without_a_grant(connected, secretive):
    fleet, node = connected()
    seen = {method.full_name: answers(fleet, method, secretive) for method in reading_methods()}
    assert [
        name for name, (said, _) in seen.items() if SECRET.encode() in said.replace(b"*" + SECRET.encode(), b"")
    ] == []
    refused = {name for name, (_, code) in seen.items() if code == "PERMISSION_DENIED"}
    assert refused == {
        f"{PLACEMENT}.Explain",
        "containerd.services.events.v1.Events.Subscribe",
        "containerd.services.introspection.v1.Introspection.PluginInfo",
        f"{CONFIGURED}.Show",
    }
    assert seen[f"{PLACEMENT}.Preview"][1] == "OK"
    explain = placement_pb2.DESCRIPTOR.services_by_name["Placement"].methods_by_name["Explain"]
    said, code = answers(node, explain, secretive)
    assert code == "OK"
    assert f"--password={SECRET}".encode() in said


def test_a_granted_certificate_reads_command_lines_and_events_over_tcp(connected, secretive):
    fleet, _ = connected(GRANT.format(EXPLAIN, SUBSCRIBE))
    explain = placement_pb2.DESCRIPTOR.services_by_name["Placement"].methods_by_name["Explain"]
    said, code = answers(fleet, explain, secretive)
    assert code == "OK"
    assert f"--password={SECRET}".encode() in said
    subscribe = descriptor_pool.Default().FindMethodByName("containerd.services.events.v1.Events.Subscribe")
    assert answers(fleet, subscribe, secretive)[1] == "CANCELLED", "it is let in, and we leave"


def test_a_granted_certificate_reads_the_configuration_over_tcp(connected):
    fleet, node = connected(GRANT.format(f"/{CONFIGURED}/Show", SUBSCRIBE))
    show = config_pb2.DESCRIPTOR.services_by_name["Config"].methods_by_name["Show"]
    said, code = answers(fleet, show, 0)
    assert code == "OK"
    assert said == answers(node, show, 0)[0]
    assert b'"tcp_tls_ca":' in config_pb2.ShowResponse.FromString(said).config_json.encode()
