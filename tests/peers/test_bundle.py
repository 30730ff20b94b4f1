"""Bundles from ``oras push`` to rules in force: our client and daemon, real ``oras`` and ``ctr``."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import grpc
import pytest
from holdfast.api.services.events.v1.events_pb2 import SubscribeRequest
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.cli.main import call

from tests.fakes.layout import ARTIFACT, FILE, MODE, RULES, Layout, digest, rule
from tests.needs import path_of, peer
from tests.peers import holdfast

URI = "io.holdfast.placement.v1.rules"
CONFIG = """
root: {{directory}}/root
state: {{directory}}/state
grpc: {{{{address: {{directory}}/h.sock}}}}
metrics: {{{{address: ""}}}}
web: {{{{address: ""}}}}
plugins:
  io.holdfast.placement.v1.rules: {{{{builtin_rules: none, bundle: {bundle}}}}}
  io.holdfast.bundle.v1.bundles: {{{{keep: 1}}}}
"""
WITHIN_S = 2  # what docs/bundles.md promises


class Node:
    """A daemon, our client to it, and its events."""

    def __init__(self, directory: Path, address: str, process: subprocess.Popen[bytes]) -> None:
        self.directory, self.address, self.process = directory, address, process

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of ours, in this process: a new one takes longer than what it does."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = call([*words, "-a", self.address])
        assert code == 0 or not check, err.getvalue()
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def refusal(self, *words: str) -> str:
        """The one line of a command that must fail."""
        done = self.run(*words, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("holdfast: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def rules(self) -> list[str]:
        return [one["name"] for one in json.loads(self.run("rules", "-o", "json").stdout).get("rules", [])]

    def bundles(self) -> list[tuple[str, str]]:
        listed = json.loads(self.run("bundle", "ls", "-o", "json").stdout)["bundles"]
        return [(one["name"], one["state"].removeprefix("STATE_").lower()) for one in listed]

    def ctr(self, *words: str) -> str:
        command = [path_of("ctr"), "-a", self.address, "-n", "holdfast", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def start(short_dir):
    """Starts a daemon in one directory, again and again."""
    return lambda bundle="current": holdfast.running(short_dir, CONFIG.format(bundle=bundle))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "node")


@peer("oras", "ctr")
def test_what_oras_pushed_is_pulled_applied_and_rolled_back(start, short_dir, tmp_path):
    (tmp_path / "etc").mkdir()
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"etc/x.conf": {MODE: "0600"}}))
    digests = []
    for number in (1, 2):
        (tmp_path / "rules.yaml").write_bytes(rule(f"r{number}"))
        (tmp_path / "etc" / "x.conf").write_text(f"x={number}\n")
        push = [path_of("oras"), "push", "--oci-layout", f"node:v{number}", "--artifact-type", ARTIFACT]
        push += ["--annotation-file", notes, f"rules.yaml:{RULES}", f"etc/x.conf:{FILE}"]
        done = subprocess.run(push, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split("Digest: ")[1].split()[0])
    with start() as (address, process):
        node = Node(short_dir, address, process)
        assert node.rules() == []
        assert digests[0] in node.run("bundle", "pull", f"{tmp_path}/node:v1").stdout
        assert node.bundles() == [("node:v1", "pulled")]
        node.run("bundle", "apply", "node:v1")
        node.run("bundle", "pull", f"{tmp_path}/node@{digests[1]}", "--name", "second", "--apply")
        assert node.bundles() == [("second", "current"), ("node:v1", "earlier")]
        assert node.rules() == ["r2"]
        placed = short_dir / "root" / "bundles" / "current" / "files" / "etc" / "x.conf"
        assert (placed.read_text(), placed.stat().st_mode & 0o7777) == ("x=2\n", 0o600)
        node.run("bundle", "rollback")
        assert (node.rules(), placed.read_text()) == (["r1"], "x=1\n")
        assert sorted(node.ctr("images", "ls", "-q").split()) == ["node:v1", "second"]
        assert set(digests) <= set(node.ctr("content", "ls", "-q").split())


@peer("ctr")
def test_what_no_rollback_reaches_is_collected_and_the_rest_is_not(start, short_dir, layout):
    """``keep`` is 1."""
    digests = [layout.add(f"v{number}", {"rules.yaml": rule(f"r{number}")}) for number in (1, 2, 3)]
    with start() as (address, process):
        node = Node(short_dir, address, process)
        for number in (1, 2, 3):
            node.run("bundle", "pull", f"{layout.path}:v{number}", "--apply")
        node.ctr("leases", "create", "--id", "now")
        node.ctr("leases", "rm", "--sync", "now")
        left = set(node.ctr("content", "ls", "-q").split())
        assert [one in left for one in digests] == [False, True, True]
        assert [digest(rule(f"r{number}")) in left for number in (1, 2, 3)] == [False, True, True]
        assert node.bundles() == [("node:v3", "current"), ("node:v2", "earlier")]


def test_rules_follow_the_bundle_within_two_seconds_and_events_tell(start, short_dir, layout):
    one = layout.add("v1", {"rules.yaml": rule("r1")})
    with start() as (address, process), grpc.insecure_channel(f"unix://{address}") as channel:
        node = Node(short_dir, address, process)
        node.run("bundle", "pull", f"{layout.path}:v1")
        told = EventsStub(channel).Subscribe(SubscribeRequest(filters=['topic~="/bundle/"']), timeout=30)
        told.initial_metadata()
        node.run("bundle", "apply", one)
        event = next(told)
        assert (event.topic, event.namespace) == ("/bundle/applied", "holdfast")
        now = time.time()
        assert node.rules() == ["r1"]
        assert now - event.timestamp.ToNanoseconds() / 1e9 < WITHIN_S


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_rules_of_a_bundle_are_in_force_from_the_next_start_on(start, short_dir, layout, number):
    layout.add("v1", {"rules.yaml": rule("r1")})
    layout.add("v2", {"rules.yaml": rule("r2")})
    with start() as (address, process):
        node = Node(short_dir, address, process)
        for tag in ("v1", "v2"):
            node.run("bundle", "pull", f"{layout.path}:{tag}", "--apply")
        process.send_signal(number)
        process.wait(30)
    with start() as (address, process):
        node = Node(short_dir, address, process)
        assert node.rules() == ["r2"]
        node.run("bundle", "rollback")
        assert node.rules() == ["r1"]


def test_a_bundle_named_by_digest_is_in_force_when_it_comes_and_stays_when_another_is_current(start, short_dir, layout):
    one, two = (layout.add(f"v{number}", {"rules.yaml": rule(f"r{number}")}) for number in (1, 2))
    with start(one) as (address, process):
        node = Node(short_dir, address, process)
        node.run("bundle", "pull", f"{layout.path}@{two}", "--apply")
        assert node.rules() == []
        node.run("bundle", "pull", f"{layout.path}@{one}", "--apply")
        assert node.rules() == ["r1"]
        node.run("bundle", "apply", two)
        assert node.rules() == ["r1"]
    log = (short_dir / "log").read_text()
    assert log.count("bundle rejected; the previous rules stay in force") == 1


def test_a_damaged_bundle_keeps_the_rules_in_force(start, short_dir, layout):
    one, two = (layout.add(f"v{number}", {"rules.yaml": rule(f"r{number}")}) for number in (1, 2))
    with start(one) as (address, process), grpc.insecure_channel(f"unix://{address}") as channel:
        node = Node(short_dir, address, process)
        for tag in ("v1", "v2"):
            node.run("bundle", "pull", f"{layout.path}:{tag}")
        node.run("bundle", "apply", one)
        assert node.rules() == ["r1"]
        told = EventsStub(channel).Subscribe(SubscribeRequest(filters=['topic=="/config/rejected"']), timeout=30)
        told.initial_metadata()
        rules = short_dir / "root" / "bundles" / one.replace(":", "-") / "files" / "rules.yaml"
        rules.write_bytes(rule("r9"))
        node.run("bundle", "apply", two)
        assert node.rules() == ["r1"]
        assert b"is not what" in next(told).event.value


def test_what_pull_refuses_it_says_in_one_line_and_leaves_nothing(start, short_dir, layout, tmp_path):
    bad = layout.add("bad-rules", {"sub/rules.yaml": b"- name: x\n  match: {com: y}\n"})
    layout.add("out", {"../../x": b"x"})
    layout.add("type", {"x": b"x"}, artifactType="application/vnd.cncf.helm.config.v1+json")
    layout.add("torn", {"x": b"torn"})
    layout.put(b"torn").write_bytes(b"tern")
    layout.add("linked", {"x": b"linked"})
    place = layout.put(b"linked")
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with start() as (address, process):
        node = Node(short_dir, address, process)
        for reference, words in {
            ":bad-rules": 'sub/rules.yaml:2: rules[0].match.com: unknown key; did you mean "comm"?',
            f"@{bad}": "sub/rules.yaml:2",
            ":out": "must stay below the bundle",
            ":type": "artifactType",
            ":torn": "its bytes are sha256:",
            ":linked": "is a link",
            ":nothing": '"nothing" is not in index.json; there are bad-rules, out, type, torn, linked',
            "": "which one?",
        }.items():
            assert words in node.refusal("bundle", "pull", f"{layout.path}{reference}")
        assert "no such file" in node.refusal("bundle", "pull", f"{tmp_path}/nowhere:v1")
        assert "pull it first" in node.refusal("bundle", "apply", "node:v1")
        assert "no bundle before" in node.refusal("bundle", "rollback")
        assert node.bundles() == []
        assert not list((short_dir / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256").iterdir())


def test_an_archive_of_a_layout_is_pulled_too(start, short_dir, layout, tmp_path):
    layout.add("v1", {"rules.yaml": rule("r1"), "big": bytes(range(256)) * 20_000, "empty": b""})
    archive = layout.archived(tmp_path / "node-rules.tar")
    with start() as (address, process):
        node = Node(short_dir, address, process)
        node.run("bundle", "pull", str(archive), "--apply")
        assert node.bundles() == [("node-rules:v1", "current")]
        files = short_dir / "root" / "bundles" / "current" / "files"
        assert (files / "big").read_bytes() == bytes(range(256)) * 20_000
        assert (files / "empty").read_bytes() == b""
