"""Forgeries of an ordinary user, on v2 and below 0: all cases of `tests.hostile.test_claims`, and more."""

import os
import shutil

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.model.decision import Reason
from holdfast.node.rule.builtin import with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import PlacementConfig

from tests.hostile import test_claims
from tests.hostile.test_claims import *  # noqa: F403
from tests.hostile.test_claims import AS_NOBODY, NOBODY, comes_to_run
from tests.integration.conftest import remove_tree
from tests.integration.node_kit import adj_of


@pytest.fixture(autouse=True)
def below_zero(monkeypatch):
    monkeypatch.setattr(test_claims, "BASE", 0)
    monkeypatch.setattr(test_claims, "PROTECTED", -500)


@pytest.fixture
def group(request, group):
    """A unit that systemd delegated, where a test is about one."""
    return request.getfixturevalue("delegated_unit") if "delegated" in request.fixturenames else group


def test_the_rules_that_ship_protect_a_program_of_roots_in_its_unit_and_no_user_s(run, spawn, hierarchy, tmp_path):
    program = "/usr/local/bin/node_exporter"
    shutil.copy(shutil.which("sleep"), program)
    tree, unit = hierarchy.tree(UNIFIED), "/holdfast-test-x.slice/prometheus-node-exporter.service"
    tree.create(unit)
    try:
        real, forged = (spawn(*AS_NOBODY, program, "600") for _ in range(2))
        for some in (real, forged):
            comes_to_run(some.pid, program)
        tree.join(unit, real.pid)
        link = tmp_path / "containerd-shim-x"
        link.symlink_to(shutil.which("su"))
        tmp_path.chmod(0o755)
        shim = spawn(*AS_NOBODY, str(link), "-c", "true")
        engine = run()
        book = compile_rules(with_builtin(PlacementConfig(dry_run=False, builtin_rules="all")), {"root": 0}.get)
        engine.engine.set_rules(book).result(60)
        engine.sweep()
        assert [adj_of(some.pid) for some in (real, forged, shim)] == [-500, 0, 0]
        assert engine.placement(shim.pid) is None
    finally:
        os.unlink(program)
        remove_tree(tree, os.path.dirname(unit))


def test_memory_that_is_kept_needs_facts_as_a_value_does(run, spawn, hierarchy, group, daemon):
    kept = {"path": f"{group}/kept", "settings": {"memory.low": "1Mi"}}
    match = {"exe": str(daemon), "user": NOBODY}
    engine = run({"name": "kept", "match": match, "cgroup": kept, "trust_claims": False})
    mine = f"mount --bind {shutil.which('sleep')} {daemon} && exec {daemon} 600"
    forged = spawn(*AS_NOBODY, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mine)
    comes_to_run(forged.pid, daemon)
    engine.sweep()
    refused = engine.placement(forged.pid).refusals
    assert [(some.reason, some.field.value) for some in refused] == [(Reason.CLAIM, "cgroup")]
    tree = hierarchy.tree(UNIFIED)
    assert not tree.exists(f"{group}/kept")
    real = spawn(*AS_NOBODY, str(daemon), "600")
    comes_to_run(real.pid, daemon)
    engine.sweep()
    assert (tree.members(f"{group}/kept"), tree.read(f"{group}/kept", "memory.low")) == ((real.pid,), str(2**20))


def test_a_loan_of_a_protected_parent_is_called_in_below_zero(run, spawn, place):
    shell = place / "hf-claimed"
    shutil.copy(shutil.which("sh"), shell)
    engine = run(
        {
            "name": "p",
            "match": {"exe": str(shell), "user": 0},
            "oom_score_adj": {"at_most": -900},
            "trust_claims": False,
        }
    )
    parent = spawn(str(shell), "-c", f"read x; {' '.join(AS_NOBODY)} sleep 600 & wait")
    comes_to_run(parent.pid, shell)
    engine.settle()
    assert adj_of(parent.pid) == -900
    parent.stdin.write(b"\n")
    parent.stdin.flush()
    sleeper = os.path.realpath(shutil.which("sleep"))
    child = 0
    while not child:
        with open(f"/proc/{parent.pid}/task/{parent.pid}/children") as file:
            child = next((pid for pid in map(int, file.read().split()) if _runs(pid, sleeper)), 0)
    engine.wait_for(lambda: adj_of(child) == 0)  # its link says the program before the exec is reported


def _runs(pid, program):
    try:
        return os.readlink(f"/proc/{pid}/exe") == program
    except OSError:
        return False
