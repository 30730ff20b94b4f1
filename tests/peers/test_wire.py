"""The same raw call to both daemons gets the same status: codes, words, limits, frames that are none."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import grpc
import pytest

from tests.needs import peer
from tests.peers.case import ctr
from tests.peers.ttrpc_wire import HEADER, Wire, field
from tests.running import PATIENCE_S, until

pytestmark = peer("containerd", "ctr")

VERSION = "/containerd.services.version.v1.Version/Version"
PLUGINS = "/containerd.services.introspection.v1.Introspection/Plugins"
PUBLISH = "/containerd.services.events.v1.Events/Publish"
FORWARD = "/containerd.services.events.v1.Events/Forward"
SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
HEALTH = "/grpc.health.v1.Health/Check"
TTRPC_EVENTS = "containerd.services.events.ttrpc.v1.Events"

IN_HF = (("containerd-namespace", "hf"),)
EVENT = field(2, field(1, "x.Y"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def call(daemon, method, payload=b"", metadata=IN_HF, stream=False):
    """Code and words of the answer to raw bytes; the reply itself when it is OK."""
    with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
        start = channel.unary_stream(method) if stream else channel.unary_unary(method)
        try:
            answer = start(payload, metadata=metadata, timeout=PATIENCE_S)
            return ("OK", list(answer) if stream else answer)
        except grpc.RpcError as error:
            return (error.code().name, error.details())


def envelope(topic="/a/b", namespace="hf", seconds=1_700_000_000):
    timestamp = field(1, field(1, seconds)) if seconds else b""
    return field(1, timestamp + field(2, namespace) + field(3, topic) + field(4, field(1, "x.Y")))


ROWS = {
    "unknown service": ("/nosuch.Service/Method",),
    "unknown method": ("/containerd.services.version.v1.Version/Nosuch",),
    "publish": (PUBLISH, field(1, "/a/b") + EVENT),
    "publish without namespace": (PUBLISH, field(1, "/a/b") + EVENT, ()),
    "publish in a bad namespace": (PUBLISH, field(1, "/a/b") + EVENT, (("containerd-namespace", "bad ns!"),)),
    "publish in too long a namespace": (PUBLISH, field(1, "/a/b") + EVENT, (("containerd-namespace", "x" * 77),)),
    "publish to no topic": (PUBLISH, EVENT),
    "publish to a topic without a slash": (PUBLISH, field(1, "a") + EVENT),
    "publish to a topic that ends in a slash": (PUBLISH, field(1, "/a/") + EVENT),
    "forward": (FORWARD, envelope()),
    "forward without a timestamp": (FORWARD, envelope(seconds=0)),
    "forward without a namespace": (FORWARD, envelope(namespace="")),
    "forward to a bad topic": (FORWARD, envelope(topic="nonsense")),
    "version without a namespace": (VERSION, b"", ()),
    "health of everything": (HEALTH,),
    "health of nobody": (HEALTH, field(1, "nosuch.Service")),
}


@pytest.fixture
def both(ours, theirs):
    return ours(), theirs()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_raw_call_is_answered_as_containerd_answers_it(both, row):
    mine, real = (call(daemon, *row) for daemon in both)
    if row[0] == VERSION:  # its payload is the version
        mine, real = mine[0], real[0]
    assert mine == real


# What follows differs on purpose: docs/containerd-differences.md, "Answers".


def test_a_method_without_a_service_is_unimplemented_and_not_exhausted(both):
    mine, real = (call(daemon, "/nosuch") for daemon in both)
    assert real == ("RESOURCE_EXHAUSTED", 'malformed method name: "/nosuch"')
    assert mine == ("UNIMPLEMENTED", real[1])


@pytest.mark.parametrize("words", ["bad==", 'id=="x'])
def test_a_bad_filter_is_refused_in_the_same_words_said_once(both, words):
    mine, real = (call(daemon, PLUGINS, field(1, words)) for daemon in both)
    assert (mine[0], mine[1] + ": invalid argument") == real == ("INVALID_ARGUMENT", real[1])


def test_a_bad_filter_of_a_subscription_is_the_callers_fault_too(both):
    mine, real = (call(daemon, SUBSCRIBE, field(1, "bad=="), stream=True) for daemon in both)
    assert real[0] == "UNKNOWN"
    assert mine == ("INVALID_ARGUMENT", real[1])


def test_junk_bytes_are_the_callers_fault_said_in_one_line(both):
    mine, real = (call(daemon, PUBLISH, b"\x0a\xff") for daemon in both)
    assert (mine[0], real[0]) == ("INTERNAL", "INTERNAL")
    assert "\n" not in mine[1]


@pytest.mark.parametrize("size", [1024, 1025])
def test_a_message_over_the_limit_is_refused_and_one_at_it_is_not(ours, theirs, size):
    limits = "  max_recv_message_size = 1024"
    payload = field(1, "/a/b") + field(2, field(1, "x.Y"))
    payload += field(15, b"x" * (size - len(payload) - 3))  # an unknown field is skipped by both
    assert len(payload) == size
    mine, real = (call(start(grpc=limits), PUBLISH, payload) for start in (ours, theirs))
    assert mine[0] == real[0] == ("OK" if size == 1024 else "RESOURCE_EXHAUSTED")
    assert size == 1024 or "1025 vs. 1024" in mine[1]


def test_an_answer_over_the_limit_is_refused(ours, theirs):
    limits = "  max_send_message_size = 100"
    mine, real = (call(start(grpc=limits), PLUGINS) for start in (ours, theirs))
    assert mine[0] == real[0] == "RESOURCE_EXHAUSTED"
    assert "larger than max" in mine[1]
    assert "100" in mine[1]


class TestTtrpc:
    """The same frames to both ttrpc servers."""

    @pytest.mark.parametrize(
        "words",
        [
            ("no.such.Service", "Method", b""),
            (TTRPC_EVENTS, "Nosuch", b""),
            (TTRPC_EVENTS, "Forward", envelope()),
            (TTRPC_EVENTS, "Forward", envelope(seconds=0)),
            (TTRPC_EVENTS, "Forward", envelope(namespace="")),
            (TTRPC_EVENTS, "Forward", envelope(topic="nonsense")),
            (TTRPC_EVENTS, "Forward", b"\x0a\xff"),
            ("", "", b""),
        ],
        ids=lambda word: repr(word)[:40],
    )
    def test_a_call_is_answered_alike(self, both, words):
        answers = []
        for daemon in both:
            with Wire(daemon.ttrpc_address) as wire:
                answers.append(wire.call(*words))
        mine, real = answers
        assert mine[0] == real[0]
        if words[2] != b"\x0a\xff":  # each protobuf library has its own words for that
            assert mine == real

    def test_a_frame_over_the_limit_is_refused_and_the_connection_goes_on(self, both):
        answers = []
        for daemon in both:
            with Wire(daemon.ttrpc_address) as wire:
                wire.send(b"x" * ((4 << 20) + 1))
                stream, kind, payload = wire.receive()
                answers.append((stream, kind, payload[:1]))
                assert wire.call(TTRPC_EVENTS, "Forward", envelope())[0] == 0 or wire
        assert answers[0] == answers[1]

    @pytest.mark.parametrize(
        "frame",
        [
            pytest.param(HEADER.pack(5, 2, 1, 0) + b"xxxxx", id="an even stream"),
            pytest.param(HEADER.pack(3, 1, 1, 0) + b"\x0a\xff\x01", id="no protobuf"),
            pytest.param(HEADER.pack(0, 1, 9, 0), id="an unknown type"),
            pytest.param(struct.pack(">I", 0xFFFFFFFF) + b"\0" * 6, id="four gigabytes announced"),
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
            pytest.param(b"\0\0\0", id="half a header"),
            pytest.param(HEADER.pack(100, 1, 1, 0) + b"x", id="half a frame"),
        ],
    )
    def test_what_is_no_frame_harms_nobody_else(self, ours, frame):
        daemon = ours()
        with Wire(daemon.ttrpc_address) as good, socket.socket(socket.AF_UNIX) as bad:
            bad.connect(daemon.ttrpc_address)
            bad.sendall(frame)
            bad.shutdown(socket.SHUT_WR)
            bad.settimeout(20)
            while bad.recv(65536):  # until it is closed: nothing stays half open
                pass
            assert good.call(TTRPC_EVENTS, "Forward", envelope())[:2] == (0, "")
        assert not [line for line in daemon.err if "Traceback" in line]


class TestHostileHttp2:
    @pytest.mark.parametrize(
        "junk",
        [
            pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP/1"),
            pytest.param(b"\x16\x03\x01\x02\x00" + bytes(200), id="TLS to a plain socket"),
            pytest.param(PREFACE + b"\xff" * 64, id="frames of ones"),
            pytest.param(PREFACE + b"\0\0\0\4\0\0\0\0\0\0\0\1\7\0\0\0\0\0!", id="short GOAWAY"),
            pytest.param(b"PRI * HTT", id="half a preface"),
        ],
    )
    def test_what_is_no_http2_is_closed_and_the_daemon_lives(self, ours, junk):
        daemon = ours()
        with socket.socket(socket.AF_UNIX) as bad:
            bad.connect(daemon.address)
            bad.sendall(junk)
            bad.shutdown(socket.SHUT_WR)
            bad.settimeout(20)
            try:
                while bad.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        assert ctr(daemon, "version").returncode == 0
        assert daemon.stop() == 0

    def test_a_client_that_vanishes_mid_stream_leaves_nothing_behind(self, ours):
        daemon = ours()
        for _ in range(5):
            channel = grpc.insecure_channel(f"unix:{daemon.address}")
            channel.unary_stream(SUBSCRIBE)(b"", metadata=IN_HF)
            channel.close()
        assert call(daemon, PUBLISH, field(1, "/a/b") + EVENT)[0] == "OK"
        assert daemon.stop() == 0
        assert not [line for line in daemon.err if "Traceback" in line]

    def test_its_descriptors_are_closed_with_its_clients(self, ours):
        daemon = ours()
        for _ in range(30):
            assert call(daemon, VERSION)[0] == "OK"
        before = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
        for _ in range(30):
            assert call(daemon, VERSION)[0] == "OK"
        until(lambda: len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) <= before + 3, "closed")
