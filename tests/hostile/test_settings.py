"""Authors of rules and owners of delegated groups cannot misuse the daemon, tried over the real kernel.

A rule's author (a bundle, a ConfigMap, the holder of a grant for ``Try``) names files and groups; a group's owner names
directories below it. Neither may write or read another file of the node, or have a process moved where it was not.
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml
from holdfast.cgroups import UNIFIED, Mode
from holdfast.node.model.decision import Field, Reason

from tests.fakes.layout import Layout
from tests.integration.conftest import group, hierarchy, program, run, sleeper  # noqa: F401 (fixtures)
from tests.integration.node_kit import NAME, group_of
from tests.integration.test_placement import daemon  # noqa: F401 (a fixture)
from tests.running import until

# ruff: noqa: F811 (parameters are fixtures)
pytestmark = pytest.mark.root
NOBODY = 65534
#: Joined to a group, it takes the names it is told on its standard input, as a user of the node.
RENAMES_ITSELF = f"""
import ctypes, os, sys
os.setgid({NOBODY}); os.setuid({NOBODY})
for line in sys.stdin:
    ctypes.CDLL(None).prctl(15, line.strip().encode(), 0, 0, 0)
    print(flush=True)
"""


@pytest.fixture
def where(hierarchy):
    """The hierarchy whose groups the tests use, and which has the controller ``pids``."""
    return UNIFIED if hierarchy.mode is Mode.UNIFIED else hierarchy.name_of("pids")


@pytest.fixture
def tree(hierarchy, where):
    return hierarchy.tree(where)


@pytest.fixture
def named():
    """A process of an ordinary user; call it to give it a name."""
    process = subprocess.Popen([sys.executable, "-c", RENAMES_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def name(text):
        process.stdin.write(f"{text}\n".encode())
        process.stdin.flush()
        process.stdout.readline()

    name("plain")
    name.pid = process.pid
    yield name
    process.stdin.close()
    process.wait()
    process.stdout.close()


def way_out(tree, file):
    """A file of the node as a path from a group directly below the mount."""
    return os.path.relpath(file, f"{tree.mount}/any")


def move(path, **more):
    return {"match": {"comm": NAME}, "cgroup": {"path": path, "controllers": ["pids"], **more}}


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def placed(tree, group, program, sleeper):
    """Starts a process that rules match, in a group; the test's own if none is given."""

    def start(path=group):
        tree.create(path)
        process = sleeper(program, "600")
        tree.join(path, process.pid)
        return process

    return start


@pytest.fixture
def target_file(tmp_path):
    path = tmp_path / "roots-own"
    path.write_text("original")
    path.chmod(0o600)
    return path


def test_a_rule_sent_to_be_tried_reads_no_file_of_the_node(daemon, target_file, tree, placed, tmp_path):
    placed()
    daemon.start()
    for file in (way_out(tree, target_file), way_out(tree, "/etc/shadow"), "cgroup.procs", "../cgroup.procs"):
        rule = {"name": "harmless", "match": {"comm": NAME}, "in_place": {file: "x"}}
        (tmp_path / "steal.yaml").write_text(yaml.safe_dump([rule]))
        for form in ((), ("-o", "json")):
            done = daemon.command("preview", "--rules", str(tmp_path / "steal.yaml"), *form, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert "is no setting" in done.stderr
            assert "original" not in done.stderr
            assert done.stderr.count("\n") == 1


def test_a_configuration_with_such_a_rule_is_rejected_and_changes_nothing(daemon, target_file, tree, placed):
    placed()
    daemon.section |= {"dry_run": False, "rules": []}
    daemon.start()
    evil = {"name": "harmless", "match": {"comm": NAME}, "in_place": {way_out(tree, target_file): "OWNED"}}
    daemon.write(rules=[evil])
    checked = daemon.command("config", "check", f"{daemon.folder}/config.yaml", check=False)
    assert checked.returncode != 0
    daemon.process.send_signal(1)
    daemon.command("health")
    until(lambda: "configuration rejected" in (daemon.folder / "log").read_text(), "it is rejected")
    assert daemon.command("rules").stdout.count("\n") == 1
    assert target_file.read_text() == "original"


def test_a_bundle_with_such_a_rule_is_neither_pulled_nor_applied(daemon, target_file, tree, placed, tmp_path):
    placed()
    layout = Layout(tmp_path / "evil")
    rule = {"name": "tuning", "match": {"comm": NAME}, "in_place": {way_out(tree, target_file): "OWNED"}}
    layout.add("v1", {"rules.yaml": yaml.safe_dump([rule]).encode()})
    daemon.section |= {"dry_run": False, "rules": [], "bundle": "current"}
    daemon.start()
    for more in ((), ("--apply",)):
        done = daemon.command("bundle", "pull", f"{layout.path}:v1", *more, check=False)
        assert (done.returncode, "is no setting" in done.stderr) == (1, True)
    assert target_file.read_text() == "original"


# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028"])
def test_undo_moves_a_process_to_its_own_group_whatever_the_owner_calls_that(run, named, group, tree, cut):
    """A delegated group's owner makes one whose name, cut at another character than the kernel's, forges a line."""
    victim = f"{group}/victim"
    forged = f"{group}/own/a{cut}{8 if tree.name else 0}:{tree.name}:{victim}"
    tree.create(victim)
    tree.create(f"{group}/own")
    os.chown(tree.at(f"{group}/own"), NOBODY, NOBODY)
    os.makedirs(tree.at(forged))
    tree.join(forged, named.pid)
    came_from = Path(f"/proc/{named.pid}/cgroup").read_bytes()
    engine = run(move(f"{group}/ours"))
    named(NAME)
    engine.settle()
    engine.sweep()
    assert tree.members(f"{group}/ours") == (named.pid,)
    named("plain")
    engine.settle()
    engine.sweep()
    assert tree.members(victim) == ()
    assert Path(f"/proc/{named.pid}/cgroup").read_bytes() == came_from


def test_a_process_whose_group_is_gone_goes_to_the_nearest_above_it(run, named, group, tree):
    tree.create(f"{group}/own/a/b")
    tree.join(f"{group}/own/a/b", named.pid)
    engine = run(move(f"{group}/ours"))
    named(NAME)
    engine.settle()
    engine.sweep()
    for gone in (f"{group}/own/a/b", f"{group}/own/a"):
        assert tree.remove(gone)
    engine.set_rules()
    engine.sweep()
    assert group_of(named.pid, tree.name) == f"{group}/own"


def test_a_process_is_never_moved_to_the_root_because_its_own_group_is_gone(run, named, group, tree):
    own = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
    tree.create(own)
    tree.join(own, named.pid)
    engine = run(move(f"{group}/ours"))
    named(NAME)
    engine.settle()
    engine.sweep()
    assert tree.remove(own)
    engine.set_rules()
    engine.sweep()
    assert group_of(named.pid, tree.name) == f"{group}/ours"


def test_a_process_that_another_program_moved_since_is_left_there(run, named, group, tree):
    for path in (f"{group}/own", f"{group}/elsewhere"):
        tree.create(path)
    tree.join(f"{group}/own", named.pid)
    engine = run(move(f"{group}/ours"))
    named(NAME)
    engine.settle()
    engine.sweep()
    tree.join(f"{group}/elsewhere", named.pid)
    engine.set_rules()
    engine.sweep()
    assert group_of(named.pid, tree.name) == f"{group}/elsewhere"


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(group, tree):
    """A group with a limit, and one below it without."""
    tree.create(f"{group}/limited", ["pids"])
    tree.write(f"{group}/limited", "pids.max", "100")
    tree.create(f"{group}/limited/inner")
    return f"{group}/limited"


@pytest.mark.parametrize("below", ["", "/inner"])
def test_a_process_does_not_leave_limits_unless_the_rule_says_so(run, placed, group, tree, limited, below):
    process = placed(limited + below)
    engine = run(move(f"{group}/a"))
    (refusal,) = engine.placement(process.pid).refusals
    assert (refusal.reason, f"pids.max 100 of {limited}" in refusal.detail) == (Reason.LEAVE_LIMITS, True)
    assert group_of(process.pid, tree.name) == limited + below
    engine.set_rules({**move(f"{group}/a"), "leave_limits": True})
    assert group_of(process.pid, tree.name) == f"{group}/a"
    lost = [change.lost for change in engine.changes(process.pid) if change.field is Field.CGROUP]
    assert lost == [f"pids.max 100 of {limited}"]


def test_two_rules_do_not_take_turns_with_a_live_limit(run, placed, sleeper, program, tree, limited):
    other = str(Path(program).with_name(f"hf-o-{os.getpid()}"))
    os.link(program, other)
    first, second = placed(limited), sleeper(other, "600")
    tree.join(limited, second.pid)
    engine = run(
        {"match": {"comm": NAME}, "in_place": {"pids.max": 50}},
        {"match": {"comm": Path(other).name}, "in_place": {"pids.max": 60}},
    )
    engine.sweep()
    for _ in range(3):
        said = len(engine.reports)
        engine.sweep()
        assert tree.read(limited, "pids.max") == "50"
        assert len(engine.reports) == said
    (refusal,) = engine.placement(second.pid).refusals
    assert (refusal.reason, 'rule "r1"' in refusal.detail) == (Reason.CONFLICT, True)
    first.kill()
    first.wait()
    for _ in range(2):
        engine.sweep()
    assert tree.read(limited, "pids.max") == "60"
