"""Every command of the pages: it exists, its options exist, and a test runs it or a reason says why none does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from holdfast.cli.group import cli

from tests.install.pages import FENCE, INLINE, SHELL

ROOT = Path(__file__).parents[3]
GENERATED = {"docs/cli.md", "docs/api.md", "docs/alerts.md", "docs/metrics.md", "docs/events.md"}
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "helm/holdfast/README.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]
]
EACH = pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
PROGRAMS = (
    *("apt", "curl", "ctr", "docker", "echo", "grpcurl", "helm", "holdfast", "install", "kind", "kubectl", "make"),
    *("oras", "pip", "python", "python3", "systemctl", "cat", "PROVIDER=native"),
)
#: Blocks by page and first command → the test that runs them as they stand there.
RUN = {
    ("README.md", "kind create cluster"): "tests/unit/docs/test_blocks.py",  # and what it shares with operations.md
    ("README.md", "make run"): "tests/install/test_look_around.py",
    ("CONTRIBUTING.md", "make run"): "tests/unit/docs/test_blocks.py",
    ("docs/testing.md", "make peers"): "tests/unit/docs/test_blocks.py",
    ("docs/bundles.md", "oras push"): "tests/peers/test_bundle_page.py",
    ("docs/bundles.md", "holdfast bundle pull"): "tests/peers/test_bundle_page.py",
    ("docs/bundles.md", "ctr"): "tests/peers/test_bundle_page.py",
    ("docs/first-plugin.md", "python3 -m venv"): "tests/install/test_first_plugin.py",
    ("docs/first-plugin.md", "python -m grpc_tools.protoc"): "tests/install/test_first_plugin.py",
    ("docs/first-plugin.md", "holdfast run"): "tests/install/test_first_plugin.py",
    ("docs/first-plugin.md", "holdfast plugins ls"): "tests/integration/test_first_plugin.py",
    ("docs/first-server.md", "holdfast run"): "tests/integration/test_first_server.py",
    ("docs/framework.md", "holdfast run"): "tests/integration/test_framework_page.py",
    ("docs/framework.md", "holdfast plugins ls"): "tests/integration/test_framework_page.py",
    ("docs/framework.md", "ctr"): "tests/install/test_look_around.py",
    ("docs/pods.md", "holdfast ps"): "tests/peers/test_cri.py",
    ("docs/placement.md", "holdfast"): "tests/integration/test_placement_page.py",
    ("docs/placement.md", "echo"): "tests/integration/test_placement_page.py",
    ("docs/placement.md", "cat"): "tests/integration/test_placement_page.py",
    ("docs/troubleshooting.md", "holdfast plugins ls"): "tests/integration/test_placement_page.py",
    ("docs/proxy-plugin.md", "ctr"): "tests/peers/test_proxy_diff.py",
    ("docs/operations.md", "kubectl create namespace"): "tests/cluster/test_pages.py",
    ("docs/operations.md", "helm upgrade"): "tests/cluster/test_pages.py",
    ("docs/operations.md", "apt install"): "tests/install/test_release.py",
    ("docs/operations.md", "python3 -m venv"): "tests/install/test_systemd.py",
    ("docs/operations.md", "kubectl -n holdfast get pods"): "tests/cluster/test_pages.py",
    ("docs/operations.md", "kubectl -n holdfast annotate pods"): "tests/cluster/test_pages.py",
    ("docs/pods.md", "kubectl describe pod"): "tests/cluster/test_kill_events.py",
    ("helm/holdfast/README.md", "kubectl create namespace"): "tests/install/test_kubernetes.py",
    ("examples/README.md", "holdfast preview"): "tests/unit/docs/test_blocks.py",
}
#: Blocks that no test runs, and why.
NOT_RUN = {
    ("README.md", "holdfast preview"): "`make recording` types it in a virtual machine and writes down what it prints",
    ("README.md", "make test"): "it is what runs this test",
    ("docs/operations.md", "docker run"): "it needs docker and the published image",
}


def commands(block):
    """The command lines of a block: those with a prompt; without one, lines that begin with a program."""
    text = block["text"].replace("\\\n", " ")
    lines = text.splitlines()
    prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    if prompted or block["language"] == "console":
        return prompted
    return [line for line in lines if line.partition(" ")[0] in PROGRAMS]


def blocks(page):
    """The blocks of a page that have commands."""
    found = [one for one in FENCE.finditer((ROOT / page).read_text()) if one["language"] in SHELL]
    return [lines for lines in map(commands, found) if lines]


def entry(page, lines, entries):
    """The most specific entry that the block's first command begins with."""
    fitting = [key for key in entries if key[0] == page and lines[0].startswith(key[1])]
    return max(fitting, key=lambda key: len(key[1]), default=None)


@EACH
def test_each_block_is_run_by_a_test_or_has_a_reason(page):
    entries = {**RUN, **NOT_RUN}
    assert [lines[0] for lines in blocks(page) if entry(page, lines, entries) is None] == []


def test_each_entry_is_of_a_block_and_each_test_reads_the_page():
    entries = {**RUN, **NOT_RUN}
    used = {entry(page, lines, entries) for page in PAGES for lines in blocks(page)}
    assert sorted(set(entries) - used) == []
    words = {test: (ROOT / test).read_text() for test in RUN.values()}
    assert [
        key for key, test in RUN.items() if key[0].rpartition("/")[2].removeprefix("operations") not in words[test]
    ] == []


def lines_of(page):
    """The commands of a page: in its blocks, and between backticks in a line."""
    text = (ROOT / page).read_text()
    spans = (found["text"] for found in INLINE.finditer(FENCE.sub("", text)))
    return [*(line for block in blocks(page) for line in block), *spans]


def faults(line):
    """Yield a command or an option of ``holdfast`` that does not exist."""
    for found in re.finditer(r"(?:^|-- |/bin/|&& )holdfast ((?:[a-z]|-)[^|;&>`]*)", line):
        try:
            words = shlex.split(found[1])
        except ValueError:  # a quotation that a placeholder cuts
            continue
        command = cli
        context = click.Context(cli)
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            following = command.get_command(context, words.pop(0))
            if following is None:
                yield f"{line}: no such command"
                return
            command = following
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
        yield from (
            f"{line}: {word}" for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known
        )


@EACH
def test_the_commands_and_options_of_holdfast_exist(page):
    assert [fault for line in lines_of(page) for fault in faults(line)] == []


@EACH
def test_the_targets_of_make_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for line in lines_of(page) for word in re.findall(r"(?:^|`|\n)make ((?:[a-z][a-z0-9-]*(?: |$))+)", line)
    }
    assert {word for words in named for word in words.split()[:1]} - targets == set()


def test_the_quick_start_on_kind_is_the_one_of_the_operations_page():
    """Which `tests/install` and `tests/cluster` run."""
    (kind,) = [lines for lines in blocks("README.md") if lines[0].startswith("kind ")]
    (install,) = [lines for lines in blocks("docs/operations.md") if lines[0].startswith("kubectl create namespace")]
    assert kind[1:] == install


def test_the_command_of_the_gallery_prints_what_it_shows(monkeypatch, capsys):
    from holdfast.cli.main import call

    text = (ROOT / "examples/README.md").read_text()
    command, shown = re.findall(r"^\$ holdfast (config check .*)\n(.*)$", text, re.MULTILINE)[0]
    monkeypatch.chdir(ROOT)
    assert call(shlex.split(command)) == 0
    assert capsys.readouterr().out == f"{shown}\n"
