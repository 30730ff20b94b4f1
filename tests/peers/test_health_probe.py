"""``grpc-health-probe``, as a kubelet of before native probes runs it: serving, not serving in a drain, gone."""

from __future__ import annotations

import signal
import subprocess

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub

from tests.needs import path_of, peer
from tests.peers.daemon import holdfast, write_config
from tests.peers.hostile import install
from tests.running import PATIENCE_S

pytestmark = peer("grpc-health-probe")

UNHEALTHY = 4  # the probe's exit status for an answer that is not SERVING
NO_CONNECTION = 2
NO_ANSWER = 3  # the call failed
PATIENT = ("-connect-timeout=20s", "-rpc-timeout=20s")  # by default one second each


def probe(daemon, *words):
    command = [path_of("grpc-health-probe"), f"-addr=unix://{daemon.address}", *PATIENT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_daemon_and_each_of_its_services_are_serving(ours):
    daemon = ours()
    for service in ("", "containerd.services.version.v1.Version", "containerd.services.events.v1.Events"):
        done = probe(daemon, f"-service={service}")
        assert (done.returncode, done.stderr) == (0, "status: SERVING\n")


def test_a_service_nobody_has_is_unknown(ours):
    done = probe(ours(), "-service=nosuch.Service")
    assert (done.returncode, done.stderr) == (
        NO_ANSWER,
        "error: health rpc failed: rpc error: code = NotFound desc = unknown service\n",
    )


def test_a_service_whose_plugin_failed_is_not_serving_while_the_rest_is(ours):
    daemon = ours(top='disabled_plugins = ["io.containerd.event.v1.exchange"]')
    assert probe(daemon, "-service=containerd.services.events.v1.Events").returncode == UNHEALTHY
    assert probe(daemon, "-service=containerd.services.version.v1.Version").returncode == 0


def test_the_health_port_answers_probes_in_plaintext_and_serves_nothing_else(ours, free_port):
    where = f"127.0.0.1:{free_port()}"
    ours(grpc=f'  health_address = "{where}"')
    asked = [path_of("grpc-health-probe"), f"-addr={where}", *PATIENT]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "status: SERVING\n")
    with grpc.insecure_channel(where) as channel, pytest.raises(grpc.RpcError) as refused:
        VersionStub(channel).Version(Empty(), timeout=PATIENCE_S)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "this port serves grpc.health.v1.Health alone" in refused.value.details()


def test_a_draining_daemon_is_not_serving_and_then_gone(short_dir):
    """A call in flight holds the drain open; it is answered."""
    config = write_config(short_dir)
    with (
        holdfast(short_dir, config, cwd=short_dir, env=install(short_dir, "handlers")) as daemon,
        grpc.insecure_channel(f"unix:{daemon.ready().address}") as channel,
    ):
        assert (probe(daemon).returncode, probe(daemon).stderr) == (0, "status: SERVING\n")
        answer = channel.unary_unary("/hostile.v1.Handlers/Wait").future(b"", timeout=PATIENCE_S)
        daemon.line("in flight")
        daemon.send(signal.SIGTERM)
        assert daemon.told("STOPPING=1")
        done = probe(daemon)
        assert (done.returncode, done.stderr) == (UNHEALTHY, 'service unhealthy (responded with "NOT_SERVING")\n')
        (short_dir / "answer").touch()
        assert answer.result() == b""
        assert daemon.end() == 0
        assert probe(daemon, "-connect-timeout=100ms").returncode == NO_CONNECTION
