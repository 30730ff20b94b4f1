"""Connections, streams and bytes of unknown clients on the network's listeners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.hostile import kit
from tests.hostile.kit import ELSEWHERE, HERE
from tests.needs import peer
from tests.peers.conftest import certificates_in
from tests.running import adj_of, until

PREFACE = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0").hex()
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".hex()
#: Of one processor, for all the daemon does while one peer calls as much as it may, beside the kit's own clients.
PEERS_SHARE = 0.5
UNENDED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n".hex()


def test_a_target_that_nobody_attacks_answers_and_works(target):
    target.survives(None, 1)


def test_the_metrics_count_a_process_and_tell_nothing_of_it(target):
    with subprocess.Popen(["--password=hunter2", "600"], executable=target.prey) as prey:
        until(lambda: target.metric("holdfast_placement_processes", rule="prey") == 1, "it is counted")
        page = target.scrape()
        prey.kill()
    assert [told for told in (kit.PREY, "hunter2", str(target.prey)) if told in page] == []


@pytest.mark.parametrize("source", [HERE, ELSEWHERE])
@pytest.mark.parametrize("listener", ["health", "tcp", "metrics"])
def test_silent_connections_take_nothing_from_anybody(target, attack, listener, source):
    target.survives(attack("idle", source, target.ports[listener], 1500))
    until(lambda: target.metric("holdfast_connections_closed_total", listener=listener) > 0, "some are closed")


@pytest.mark.parametrize(
    ("listener", "said"),
    [("health", PREFACE), ("tcp", PREFACE), ("metrics", UNENDED)],
    ids=["health", "tcp", "metrics"],
)
def test_connections_that_begin_and_then_idle_take_nothing_from_other_addresses(target, attack, listener, said):
    target.survives(attack("idle", ELSEWHERE, target.ports[listener], 1500, said))
    until(lambda: target.metric("holdfast_connections_closed_total", listener=listener) > 0, "some are closed")


def test_calls_that_never_end_on_the_health_port_are_few_and_cost_little(target, attack):
    target.survives(attack("streams", target.ports["health"], 400, 100, "/grpc.health.v1.Health/Watch"))


@pytest.mark.parametrize("method", ["/holdfast.placement.v1.Placement/Watch", "/grpc.health.v1.Health/Watch"])
def test_calls_that_never_end_over_tcp_leave_the_nodes_own_clients_theirs(target, attack, method):
    target.survives(attack("streams", target.ports["tcp"], 200, 200, method))
    assert target.versions() == 20


def test_calls_whose_request_never_comes_cost_little(target, attack):
    target.survives(attack("streams", target.ports["tcp"], 200, 200, "/holdfast.placement.v1.Placement/Status", "none"))
    assert target.versions() == 20


@pytest.mark.parametrize(("size", "code"), [(64 << 10, "OK"), ((64 << 10) + 1, "RESOURCE_EXHAUSTED")])
def test_over_tcp_a_request_is_as_large_as_reading_needs_where_nobody_is_granted_more(target, size, code):
    unknown = bytes([15 << 3 | 2, *_varint(size - 4)])  # a field that no HealthCheckRequest has
    with grpc.insecure_channel(f"127.0.0.1:{target.ports['tcp']}") as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            _, answered = call.with_call(unknown.ljust(size, b"\0"), timeout=kit.PATIENCE_S)
        except grpc.RpcError as error:
            answered = error
    assert answered.code().name == code


def _varint(number):
    return number & 127 | 128, number >> 7 & 127 | 128, number >> 14


def test_calls_over_tcp_have_a_quarter_of_all(short_dir):
    with kit.target(short_dir, grpc="  max_concurrent_rpcs: 40") as target, ExitStack() as stack:
        streams = []
        for _ in range(2):  # of 16 calls at the most
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{target.ports['tcp']}", options))
            watch = channel.unary_stream("/holdfast.placement.v1.Placement/Watch")
            streams += [watch(b"", timeout=4 * kit.PATIENCE_S) for _ in range(8)]
        until(lambda: [stream.is_active() for stream in streams].count(False) >= 6, "six are refused")
        assert {stream.code().name for stream in streams if not stream.is_active()} == {"RESOURCE_EXHAUSTED"}
        assert target.versions() == 20
        assert [stream.is_active() for stream in streams].count(True) == 10


@pytest.mark.parametrize("attacks", [1, 3])
@pytest.mark.parametrize(("listener", "calls"), [("health", 8), ("tcp", 16)])
def test_clients_that_call_and_leave_again_and_again_do_not_have_the_calls_of_others_cancelled(
    target, attack, listener, calls, attacks
):
    arguments = (target.ports[listener], calls, "/grpc.health.v1.Health/Watch")
    floods = [attack("hit_and_run", *arguments) for _ in range(attacks)]
    target.survives(floods[0])
    assert target.versions() == 20


@pytest.mark.parametrize(("listener", "calls"), [("health", 8), ("tcp", 16)])
def test_calls_that_are_reset_at_once_do_not_have_those_of_others_cancelled(target, attack, listener, calls):
    target.survives(attack("resets", target.ports[listener], calls, "/grpc.health.v1.Health/Watch"))
    assert target.versions() == 20


@pytest.mark.parametrize("kind", ["window-update", "unknown", "large", "continuation", "byte-by-byte", "metadata"])
@pytest.mark.parametrize("listener", ["health", "tcp"])
def test_frames_that_cost_their_sender_nothing_take_a_limited_share_of_the_time_and_of_the_log(
    target, attack, listener, kind
):
    figures = target.survives(attack("frames", target.ports[listener], 16, kind))
    assert figures.daemon_share < PEERS_SHARE, figures
    target.pauses(listener)


@pytest.mark.parametrize("listener", ["health", "tcp"])
def test_calls_without_end_of_one_peer_take_a_limited_share_of_the_time(target, attack, listener):
    figures = target.survives(attack("calls", target.ports[listener], 8, 8, "/grpc.health.v1.Health/Check"))
    assert figures.daemon_share < PEERS_SHARE, figures
    target.pauses(listener)


@pytest.mark.parametrize(
    ("connections", "kind", "path"),
    [(1500, "anew", "/"), (1500, "ask-reset", "/"), (16, "kept", "/process?pid=1"), (16, "pipelined", "/healthz")],
)
def test_requests_to_the_web_listener_take_a_limited_share_of_the_time(target, attack, connections, kind, path):
    figures = target.survives(attack("http", ELSEWHERE, target.ports["web"], connections, kind, path))
    assert figures.daemon_share < PEERS_SHARE, figures


@pytest.mark.parametrize(
    ("connections", "kind"),
    [
        *[(1500, kind) for kind in ("anew", "leave", "reset")],
        *[(16, kind) for kind in ("kept", "lines", "gzip", "put", "bytes", "refused", "unread")],
    ],
)
def test_requests_to_the_metrics_listener_take_a_limited_share_of_the_time(target, attack, connections, kind):
    figures = target.survives(attack("http", ELSEWHERE, target.ports["metrics"], connections, kind, "/metrics"))
    assert figures.daemon_share < PEERS_SHARE, figures


def test_requests_that_are_almost_sent_do_not_fill_the_memory(target, attack):
    target.survives(attack("requests", target.ports["tcp"], 64, 16 << 20))


def test_a_head_that_never_ends_and_an_answer_that_is_never_read_do_not_keep_the_monitor_out(target, attack):
    target.survives(attack("trickle", target.ports["metrics"], 300))


@pytest.mark.parametrize(("listener", "said"), [("metrics", REQUEST), ("health", PREFACE)], ids=["metrics", "health"])
def test_a_user_who_leaves_at_once_does_not_use_up_what_roots_monitor_may_take(target, attack, listener, said):
    target.survives(attack("leave", target.ports[listener], said))


def test_with_few_descriptors_idle_connections_on_every_listener_leave_the_engine_its_own(short_dir, attack):
    with kit.target(short_dir, before=["prlimit", "--nofile=1024:1024"]) as target:
        for listener in ("health", "tcp", "metrics"):
            flood = attack("idle", HERE, target.ports[listener], 1500, PREFACE)
        target.survives(flood)
        open_files = len(list(Path(f"/proc/{target.pid}/fd").iterdir()))
        assert open_files < 1024 - 128


def test_the_soft_limit_of_open_files_is_no_limit(short_dir):
    with kit.target(short_dir, before=["prlimit", "--nofile=128:4096"]) as target:
        assert target.metric("process_max_fds") == 4096


@pytest.fixture
def shared(short_dir):
    """A daemon whose unix socket the attackers' group may use."""
    with kit.target(short_dir, grpc=f"  gid: {kit.NOBODY}") as made:
        yield made


@pytest.mark.parametrize("said", ["", PREFACE], ids=["silent", "preface"])
def test_a_member_of_the_sockets_group_takes_neither_the_socket_nor_the_engines_descriptors(shared, attack, said):
    shared.survives(attack("idle", shared.address, 0, 3000, said))
    assert not shared.refused(), "root's own clients"
    assert len(list(Path(f"/proc/{shared.pid}/fd").iterdir())) < 512


@pytest.mark.parametrize("request_", ["whole", "none"])
@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Watch", "/holdfast.placement.v1.Placement/Watch"])
def test_calls_of_a_member_of_the_sockets_group_that_never_end_have_a_bound(shared, attack, method, request_):
    shared.survives(attack("streams", shared.address, 200, 200, method, request_))
    assert not shared.refused(), "root's own clients"


@pytest.mark.parametrize("name", ["hit_and_run", "resets"])
def test_a_member_of_the_sockets_group_does_not_have_the_calls_of_others_cancelled(shared, attack, name):
    shared.survives(attack(name, shared.address, 32, "/grpc.health.v1.Health/Watch"))
    assert not shared.refused(), "root's own clients"


@pytest.mark.parametrize("kind", ["large", "continuation", "byte-by-byte"])
def test_frames_of_a_member_of_the_sockets_group_take_a_limited_share_of_the_time(shared, attack, kind):
    figures = shared.survives(attack("frames", shared.address, 16, kind))
    assert figures.daemon_share < PEERS_SHARE, figures
    shared.pauses("grpc")
    assert not shared.refused(), "root's own clients"


def test_a_daemon_whose_peers_wait_is_reloaded_and_serves(target, attack):
    attack("frames", target.ports["tcp"], 16, "unknown")
    attack("hit_and_run", target.ports["tcp"], 16, "/grpc.health.v1.Health/Watch")
    target.pauses("tcp")
    config = target.directory / "config.yaml"
    config.write_text(config.read_text().replace(f"at_least: {kit.PREY_ADJ}", f"at_least: {kit.PREY_ADJ + 1}"))
    os.kill(target.pid, signal.SIGHUP)
    target.running.line("configuration reloaded")
    target.check()
    with subprocess.Popen([target.prey, "600"]) as prey:
        until(lambda: adj_of(prey.pid) == kit.PREY_ADJ + 1, "the new value is written")
        prey.kill()


@pytest.fixture
def encrypted(short_dir):
    """A daemon whose TCP listener has TLS."""
    made = certificates_in(short_dir)
    tls = f"  tcp_tls_cert: {made.cert('server')}\n  tcp_tls_key: {made.key('server')}"
    with kit.target(short_dir, grpc=tls) as target:
        yield target


@peer("openssl")
@pytest.mark.parametrize("kind", ["whole", "byte-by-byte"])
def test_handshakes_without_end_take_a_limited_share_of_the_time_and_of_the_log(encrypted, attack, kind):
    figures = encrypted.survives(attack("handshakes", encrypted.ports["tcp"], kind))
    assert figures.daemon_share < PEERS_SHARE, figures


#: By forks alone: so many execs of root's in a second would be a crowd, and placement would wait for a rescan.
CROWD = """
import ctypes, os, signal
prctl = ctypes.CDLL(None).prctl
for _ in range(400):
    if os.fork() == 0:
        prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        signal.pause()
print("there", flush=True)
signal.pause()
"""


@pytest.fixture
def crowd(start):
    """A node with some processes more."""
    start([sys.executable, "-c", CROWD]).line("there")


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("method", ["Victims", "Preview"])
def test_looks_at_the_whole_node_over_tcp_do_not_keep_the_nodes_own_clients_waiting(target, attack, method):
    target.survives(attack("calls", target.ports["tcp"], 6, 8, f"/holdfast.placement.v1.Placement/{method}"))
    beside = kit.Figures()
    with target.controlled(beside):
        looks = [target.look() for _ in range(3)]
    median = sorted(looks, key=lambda look: look.taken_s)[1]
    assert beside.added_s(median) < kit.ADDED_S, looks
