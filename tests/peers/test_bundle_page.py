"""docs/bundles.md, word by word: real ``oras`` and ``ctr``, a real registry with TLS, our daemon and commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.fakes.layout import ARTIFACT, RULES, rule
from tests.install.pages import blocks
from tests.needs import BIN, path_of, peer
from tests.peers import holdfast
from tests.peers.test_bundle import CONFIG

pytestmark = peer("oras", "registry", "ctr", "openssl")
PAGE = "docs/bundles.md"
SOCKET, REGISTRY = "/run/holdfast/holdfast.sock", "registry.example.org"


@pytest.fixture
def registry(start, certificates, monkeypatch):
    """A registry that `oras` and we trust: its address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.cert("ca")))
    command = [path_of("registry"), "127.0.0.1:0", certificates.cert("server"), certificates.key("server")]
    return start(command).line(r"^127\.0\.0\.1:\d+$")


@pytest.fixture
def typed(registry, short_dir, tmp_path):
    """A shell in the directory of the bundle's author, on a node with a daemon: a command's output."""
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "holdfast"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "author"
    (folder / "modprobe").mkdir(parents=True)
    (folder / "modprobe" / "node.conf").write_text("options nf_conntrack hashsize=65536\n")
    (folder / "rules.yaml").write_bytes(rule("batch"))
    with holdfast.running(short_dir, CONFIG.format(bundle="current")) as (address, _):
        path = f"{tmp_path}/programs:{BIN}:{os.environ['PATH']}"
        environ = {**os.environ, "HOLDFAST_ADDRESS": address, "PATH": path, "HOME": str(folder)}
        environ["PYTHONPATH"] = os.pathsep.join(one for one in sys.path if one)

        def run(command, check=True):
            command = command.replace(SOCKET, address).replace(REGISTRY, registry)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=folder,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert not check or done.returncode == 0, done.stdout
            return done.stdout.replace(registry, REGISTRY)

        yield run


def write(typed, text):
    typed(f"cat >rules.yaml <<'END'\n{text}END")


def push(typed, version, text):
    write(typed, text)
    typed(f"oras push --oci-layout node-rules:{version} --artifact-type {ARTIFACT} rules.yaml:{RULES}")


def unmeasured(text):
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", text)
    return [line.rstrip() for line in re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "…", text).splitlines()]


def test_each_command_of_the_page_prints_what_it_shows(typed):
    sessions = [one for one in blocks(PAGE) if one.shown]
    session = [step for one in sessions for step in zip(one.commands, one.shown, strict=True)]
    assert len(session) == 10
    for command, shown in session:
        if "node-rules:v2" in command:
            push(typed, "v2", rule("batch", adj=600).decode())
        if "node-rules:v3" in command:
            push(typed, "v3", "- name: batch\n  match:\n    com: backup\n  oom_score_adj: 500\n")
        if command.startswith("oras push"):
            write(typed, rule("batch").decode())
        ends_well = not any(line.startswith("holdfast: ") for line in shown)
        printed = unmeasured(typed(command, check=ends_well))
        expected = unmeasured("\n".join(shown))
        if expected[0] == "…":
            expected, printed = expected[1:], printed[1 - len(expected) :]
        assert printed == expected, command


def test_a_bundle_in_a_registry_is_pulled_by_digest_and_applied(typed):
    pushed = typed(f"oras push {REGISTRY}/team/node-rules:v1 --artifact-type {ARTIFACT} rules.yaml:{RULES}")
    digest = re.search(r"sha256:[0-9a-f]{64}", pushed.partition("Digest: ")[2])[0]
    name = f"{REGISTRY}/team/node-rules@{digest}"
    assert f"current: {name} {digest}" in typed(f"holdfast bundle pull oci://{name} --apply")
    (listed,) = json.loads(typed("holdfast bundle ls -o json"))["bundles"]
    assert (listed["name"].partition("/")[2], listed["digest"]) == (f"team/node-rules@{digest}", digest)
    assert [one["name"] for one in json.loads(typed("holdfast rules -o json"))["rules"]] == ["batch"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"{REGISTRY}/team/nothing:v1", "HTTP 404: not found"),
        (f"{REGISTRY}/team/node-rules", "add :TAG or @DIGEST"),
        (f"{REGISTRY}/image:v1", "artifactType"),
        ("127.0.0.1:1/team/node-rules:v1", "refused"),
    ],
)
def test_what_cannot_be_pulled_is_one_line_and_leaves_nothing(typed, source, words):
    typed(f"oras push {REGISTRY}/image:v1 --artifact-type application/x rules.yaml:{RULES}")
    said = typed(f"holdfast bundle pull oci://{source}", check=False)
    assert said.startswith("holdfast: ")
    assert said.count("\n") == 1
    assert words in said
    assert json.loads(typed("holdfast bundle ls -o json")) == {"bundles": []}


def test_a_registry_whose_authority_is_unknown_is_refused(typed, registry):
    said = typed(f"SSL_CERT_FILE=/dev/null holdfast bundle pull oci://{registry}/team/node-rules:v1", check=False)
    assert "certificate verify failed" in said
