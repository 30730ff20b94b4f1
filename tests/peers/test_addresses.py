"""Addresses without a host on nodes with one family of addresses, and what clients of a unix socket call its host."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys

import pytest

from tests.hostile.attacks import h2
from tests.needs import path_of, peer, root
from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast
from tests.running import PATIENCE_S

V6_OFF = [f"net.ipv6.conf.{name}.disable_ipv6=1" for name in ("all", "default", "lo")]

#: Asks both ports on each host; run in the daemon's network namespace.
ASK = """
import http.client, json, sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
answers = {}
for host in json.loads(sys.argv[1]):
    page = http.client.HTTPConnection(host, 9420, timeout=30)
    page.request("GET", "/metrics")
    literal = f"[{host}]" if ":" in host else host
    with grpc.insecure_channel(f"{literal}:7421") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    answers[host] = [page.getresponse().status, health.status]
print(json.dumps(answers))
"""


@root
@peer("unshare", "ip", "sysctl", "nsenter")
@pytest.mark.parametrize(
    ("set_up", "hosts"),
    [
        ([], ["127.0.0.1", "::1"]),
        (["ip", "-4", "addr", "flush", "dev", "lo"], ["::1"]),
        (["sysctl", "-qw", *V6_OFF], ["127.0.0.1"]),
    ],
    ids=["both", "IPv6 alone", "IPv4 alone"],
)
def test_a_port_without_a_host_is_served_on_the_families_there_are(short_dir, start, set_up, hosts):
    config = short_dir / "c.yaml"
    config.write_text(
        f"root: {short_dir}/root\nstate: {short_dir}/state\nmetrics: {{address: ':9420'}}\n"
        f"grpc: {{address: {short_dir}/s.sock, health_address: ':7421'}}\n"
    )
    steps = "ip link set lo up; " + ("true" if not set_up else " ".join(set_up))
    words = [path_of("unshare"), "--net", "sh", "-c", f'{steps}; exec "$@"', "sh", *HOLDFAST, "run", "-c", config]
    daemon = start(words, env=ENVIRON)
    daemon.line("successfully booted")
    left_out = "failed to get listener for web endpoint: listen tcp 127.0.0.1:9421"  # the page: nobody asked for it
    assert (left_out in daemon.said) == (hosts == ["::1"])
    enter = [path_of("nsenter"), f"--net=/proc/{daemon.pid}/ns/net", sys.executable, "-c", ASK, json.dumps(hosts)]
    asked = subprocess.run(enter, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert asked.returncode == 0, asked.stderr + daemon.said
    assert json.loads(asked.stdout) == {host: [http.client.OK, 1] for host in hosts}


@pytest.fixture
def served(short_dir):
    """The path of a daemon's socket."""
    config = short_dir / "c.yaml"
    config.write_text(
        f"root: {short_dir}/root\nstate: {short_dir}/state\nmetrics: {{address: ''}}\nweb: {{address: ''}}\n"
        f"grpc: {{address: {short_dir}/s.sock}}\n"
    )
    with holdfast(short_dir, config) as daemon:
        daemon.ready()
        yield f"{short_dir}/s.sock"


@pytest.mark.parametrize("authority", ["localhost", "", "{}", "%2Ftmp%2Fs.sock", "unix:{}", "127.0.0.1:1"])
def test_a_client_of_the_unix_socket_is_served_whatever_it_calls_the_host(served, authority):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(served)
        client.sendall(
            h2.PREFACE + h2.call(1, b"/grpc.health.v1.Health/Check", authority=authority.format(served).encode())
        )
        frames = {}
        while h2.DATA not in frames or h2.RESET in frames:
            kind, payload = h2.receive(client)
            frames[kind] = payload
            assert kind != h2.RESET
    assert frames[h2.DATA].endswith(b"\x08\x01")
