"""Rows of docs/containerd-differences.md that no case of the table and no other test shows."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import tomllib
import urllib.request
from pathlib import Path

import grpc
import pytest
import yaml
from holdfast.api.services.content.v1 import content_pb2 as content
from holdfast.api.services.content.v1.content_pb2_grpc import ContentStub

from tests.needs import path_of, peer
from tests.peers import daemon as daemons
from tests.peers.case import ctr, last_word
from tests.peers.cases.looks import port
from tests.peers.daemon import write_config
from tests.peers.hostile import install
from tests.peers.ttrpc_wire import Wire, field
from tests.running import PATIENCE_S

pytestmark = [peer("containerd", "ctr"), pytest.mark.root]

METRICS = '[metrics]\n  address = "127.0.0.1:0"'
TTRPC_EVENTS = "containerd.services.events.ttrpc.v1.Events"
CONTENT = "/containerd.services.content.v1.Content"
IN_HF = (("containerd-namespace", "hf"),)


@pytest.fixture
def both(ours, theirs):
    return ours(), theirs()


def call(daemon, method, request, answer, stream=False):
    """The answer, a list of them of a stream, or the status and its words."""
    with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
        kind = channel.unary_stream if stream else channel.unary_unary
        multi = kind(method, type(request).SerializeToString, answer.FromString)
        try:
            got = multi(request, metadata=IN_HF, timeout=PATIENCE_S)
            return list(got) if stream else got
        except grpc.RpcError as error:
            return error.code().name, error.details()


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ("containerd.services.transfer.v1.Transfer", "--local"),
        ("containerd.services.streaming.v1.Streaming", "--local"),
        ("containerd.services.tasks.v1.Tasks", "holdfast runs no containers"),
        ("containerd.services.sandbox.v1.Controller", "holdfast runs no containers"),
        ("runtime.v1.RuntimeService", "holdfast runs no containers"),
    ],
)
def test_a_call_to_a_service_that_holdfast_does_not_have_says_what_helps(ours, service, words):
    code, answer = call(ours(), f"/{service}/Any", content.InfoRequest(), content.InfoResponse)
    assert code == "UNIMPLEMENTED"
    assert answer.startswith(f"unknown service {service} (")
    assert words in answer


def test_a_yaml_file_is_read_and_containerd_knows_toml_alone(short_dir):
    path = short_dir / "config.yaml"
    path.write_text(
        f"root: {short_dir}/root\nstate: {short_dir}/state\n"
        f'grpc: {{address: {short_dir}/s.sock}}\nmetrics: {{address: ""}}\nweb: {{address: ""}}\n'
    )
    with daemons.containerd(short_dir, path) as real:
        assert real.end() == 1
        assert last_word(real).startswith("failed to load TOML: @DIR@/config.yaml: (1, 1): ")
    with daemons.holdfast(short_dir, path) as mine:
        assert ctr(mine.ready(), "version").returncode == 0


@pytest.mark.parametrize("form", ["unix://{path}", "unix:{path}"])
def test_an_address_may_be_a_url_where_containerd_makes_directories_called_unix(short_dir, form):
    address = form.format(path=short_dir / "s.sock")
    for name, starter in (("c", daemons.containerd), ("h", daemons.holdfast)):
        own = short_dir / name
        own.mkdir()
        with starter(own, write_config(own), "--address", address, cwd=own) as daemon:
            daemon.ready()
            made = {path.name for path in own.iterdir()}
            assert ("unix:" in made) == (name == "c")
            assert (short_dir / "s.sock").is_socket() == (name == "h")


def test_the_directory_a_socket_needs_is_made_for_all_to_pass_through(short_dir):
    made = {}
    for name, starter in (("c", daemons.containerd), ("h", daemons.holdfast)):
        own = short_dir / name
        own.mkdir()
        with starter(own, write_config(own), "--address", str(own / "new" / "s.sock")) as daemon:
            daemon.ready()
            made[name] = f"{stat.S_IMODE((own / 'new').stat().st_mode):o}"
    assert made == {"c": f"{0o770 & ~umask():o}", "h": "711"}


def umask():
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_a_tcp_address_may_be_a_url_too(short_dir, free_port):
    grpc_port, metrics_port = free_port(), free_port()
    config = write_config(
        short_dir,
        grpc=f'  tcp_address = "tcp://127.0.0.1:{grpc_port}"',
        tables=f'[metrics]\n  address = "tcp://127.0.0.1:{metrics_port}"',
    )
    with daemons.containerd(short_dir, config) as real:
        assert real.end() == 1
        assert "too many colons in address" in last_word(real)
    with daemons.holdfast(short_dir, config) as mine:
        mine.ready()
        assert urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=PATIENCE_S).status == 200
        mine.line(rf"serving.*127\.0\.0\.1:{grpc_port}")


def test_a_failed_boot_closes_what_had_started_in_reverse(short_dir):
    top = 'required_plugins = ["io.hostile.x.v1.raises"]'
    environ = install(short_dir, "opens_first", "opens_second", "raises")
    with daemons.holdfast(short_dir, write_config(short_dir, top=top), env=environ) as daemon:
        assert daemon.end() == 1
        assert daemon.out == ["opened first", "opened second", "closed second", "closed first"]
        assert last_word(daemon) == "load required plugin io.hostile.x.v1.raises: ValueError: the disk is on fire"
        assert [path for path in short_dir.iterdir() if path.is_socket()] == []


def test_metrics_are_served_without_being_asked_for_and_empty_turns_them_off(short_dir, ours):
    real = tomllib.loads(said(path_of("containerd"), "config", "default"))
    mine = yaml.safe_load(said(*daemons.HOLDFAST, "config", "default"))
    assert (real["metrics"]["address"], mine["metrics"]["address"]) == ("", "127.0.0.1:9420")
    daemon = ours(tables='[metrics]\n  address = ""')
    assert [line for line in daemon.err if "metrics endpoint" in line] == []


def said(*command):
    return subprocess.run(
        command, env={**os.environ, **daemons.ENVIRON}, capture_output=True, text=True, check=True
    ).stdout


def test_ttrpc_calls_are_counted_in_the_same_families(ours, theirs):
    counted = []
    for start in (ours, theirs):
        daemon = start(tables=METRICS)
        envelope = field(1, field(1, 1700000000)) + field(2, "hf") + field(3, "/a/b") + field(4, field(1, "x.Y"))
        with Wire(daemon.ttrpc_address) as wire:
            assert wire.call(TTRPC_EVENTS, "Forward", field(1, envelope))[:2] == (0, "")
        page = urllib.request.urlopen(f"http://127.0.0.1:{port(daemon)}/v1/metrics", timeout=PATIENCE_S).read().decode()
        pattern = (
            rf'^grpc_server_handled_total{{grpc_code="OK",grpc_method="Forward",grpc_service="{TTRPC_EVENTS}".* 1$'
        )
        counted.append(len(re.findall(pattern, page, re.M)))
    assert counted == [1, 0]


def test_metadata_are_an_sqlite_file_where_containerd_has_bolts(both):
    for daemon in both:
        assert ctr(daemon, "namespaces", "create", "kept").returncode == 0
    mine, real = (Path(daemon.dir / "root" / "io.containerd.metadata.v1.bolt") for daemon in both)
    assert [path.name for path in real.iterdir()] == ["meta.db"]
    magic = (real / "meta.db").read_bytes()[16:20]
    assert magic == (0xED0CDAED).to_bytes(4, "little")  # bolt's
    kept = [path for path in mine.iterdir() if path.read_bytes()[:15] == b"SQLite format 3"]
    assert len(kept) == 1
    assert b"kept" in b"".join(path.read_bytes() for path in mine.iterdir())  # in the file, or still in its log


def test_a_list_of_content_says_when_each_was_updated(both):
    told = []
    for daemon in both:
        made = ctr(daemon, "-n", "hf", "leases", "create", "--id", "held")  # or a collection may have it before we look
        assert made.returncode == 0, made.stderr
        with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
            write = ContentStub(channel).Write(
                iter([content.WriteContentRequest(action=content.COMMIT, ref="r", data=b"hello")]),
                metadata=(*IN_HF, ("containerd-lease", "held")),
                timeout=PATIENCE_S,
            )
            assert [answer.offset for answer in write][-1] == 5
        (answer,) = call(daemon, f"{CONTENT}/List", content.ListContentRequest(), content.ListContentResponse, True)
        told.append([(info.size, info.updated_at.seconds > 0) for info in answer.info])
    assert told == [[(5, True)], [(5, False)]]


def test_labels_are_not_given_to_a_namespace_whose_name_is_not_one(both):
    mine, real = (ctr(daemon, "namespaces", "label", "bad ns!", "a=b") for daemon in both)
    assert (mine.returncode, real.returncode) == (1, 0)
    assert 'identifier "bad ns!" must match' in mine.stderr
    assert ["bad ns!" in ctr(daemon, "namespaces", "ls", "-q").stdout for daemon in both] == [False, True]


def test_sigquit_is_the_kernels_and_shows_no_stacks(both):
    mine, real = both
    assert (mine.stop(signal.SIGQUIT), real.stop(signal.SIGQUIT)) == (-signal.SIGQUIT, 2)
    assert ["goroutine" in daemon.said for daemon in both] == [False, True]
    assert "MainThread" not in mine.said


class TestTwo:
    """Two containerds on one machine; the behaviour of two of ours is in test_life."""

    def test_a_second_containerd_takes_the_socket_and_removes_it_when_it_ends(self, short_dir):
        config = write_config(short_dir)
        with daemons.containerd(short_dir, config) as first:
            first.ready()
            other = ("--root", f"{short_dir}/root2", "--state", f"{short_dir}/state2")
            with daemons.containerd(short_dir, config, *other) as second:
                assert ctr(second.ready(), "version").returncode == 0
                second.stop()
            assert not first.ended()
            assert not Path(first.address).exists()  # alive, and nobody reaches it

    def test_a_second_containerd_on_one_root_serves_without_its_metadata(self, short_dir):
        (short_dir / "2").mkdir()
        wait = '[timeouts]\n  "io.containerd.timeout.bolt.open" = "100ms"'  # by default it waits for ever
        with daemons.containerd(short_dir, write_config(short_dir)) as first:
            first.ready()
            config = write_config(short_dir / "2", tables=wait)
            with daemons.containerd(short_dir / "2", config, "--root", f"{short_dir}/root") as second:
                second.ready()
                rows = ctr(second, "plugins", "ls", "id==bolt").stdout.splitlines()[1:]
                assert [row.split()[-1] for row in rows] == ["error"]
