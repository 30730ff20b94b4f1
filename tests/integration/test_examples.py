"""The gallery on this machine: a real process with the name and the arguments of an entry gets its decision.

The entries are those that a name and a command line describe; the others need a program of root's at its path, a unit
or a pod, and are decided in `tests/unit/docs/test_examples.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from holdfast.node.model.process import Lineage
from holdfast.node.plan.plan import plan
from holdfast.node.proc.reader import EVERYTHING, ProcReader
from holdfast.process import ProcRoot

from tests.fakes.examples import NAMES, claims, rules, written
from tests.fakes.placement import v2_host
from tests.running import until

BY_NAME = [
    pytest.param(name, claim, id=f"{name}: {claim.process}")
    for name in NAMES
    for claim in claims(name)
    if claim.is_by_name
]


def nobody(_pid, _ticks):
    return None


@pytest.fixture
def started(tmp_path):
    """Starts a program of an entry's name, with its arguments; it ends with the test."""
    shell = shutil.which("bash")
    ends = []

    def start(claim):
        program = tmp_path / claim.comm.replace("/", "_")
        shutil.copy(shell, program)
        words = [claim.comm, "-c", "read -r _", *claim.cmdline]
        ends.append(subprocess.Popen(words, executable=program, stdin=subprocess.PIPE))
        pid = ends[-1].pid
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == f"{claim.comm}\n")
        return pid

    yield start
    for process in ends:
        process.communicate()


@pytest.mark.parametrize(("name", "claim"), BY_NAME)
def test_a_real_process_gets_the_decision_of_its_entry(name, claim, started):
    pid, book = started(claim), rules(name)
    with ProcRoot("/proc") as proc:
        reader = ProcReader(proc)
        some = reader.facts(reader.stat_line(pid), EVERYTHING)
        some = reader.with_ancestors(some, Lineage.ALL, EVERYTHING, nobody)
    decision = plan(some, book, v2_host(own_pid=os.getpid(), hierarchies=tuple(some.cgroups)))
    higher = some.oom_score_adj >= claim.writes.get("oom_score_adj", 1000)  # this run's own value, which it inherits
    assert (decision.rule, written(decision.changes)) == (claim.rule, {} if higher else claim.writes)
    assert decision.refusals == ()


def test_several_examples_have_such_processes():
    assert len({param.values[0] for param in BY_NAME}) >= 7
