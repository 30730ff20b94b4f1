"""Anything in any order: whatever happens, each process and file ends with what the model says.

The model is in `tests.fakes.kernel`: what each process and file would have if there were no holdfast. Everything else
is the real thing: the reconciler, the keeper, the executor, the journal and its file, the sweeps.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from holdfast.node.engine import sweep as sweep_module
from holdfast.node.rule.ruleset import Rules
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fakes.kernel import EXISTING, TREE
from tests.fakes.node import Node
from tests.fakes.placement import rules

#: Values of other programs, never one of a rule's.
OTHERS = (0, 3, 7, 120, 205, 211, 801)
COMMS = ("a", "b", "c", "d", "e", "g", "h", "none")


def made(variant: str) -> Rules:
    """Rules A and B differ in every value; ``dry``: A that only plans."""
    more = 10 * (variant == "B")
    given = [
        {"name": "value", "match": {"comm": "a"}, "oom_score_adj": 500 + more},
        {
            "name": "move", "match": {"comm": "b"}, "oom_score_adj": 310 + more, "leave_limits": True,
            "cgroup": {
                "path": "/made/b" if more else "/made", "controllers": [TREE], "settings": {"pids.max": 50 + more},
            },
        },
        {
            "name": "own", "match": {"comm": "c"}, "leave_limits": True,
            "cgroup": {"path": "/src3", "controllers": [TREE], "settings": {"pids.max": 60 + more}},
        },
        {"name": "place", "match": {"comm": "d"}, "in_place": {"pids.max": 77 + more}},
        {"name": "least", "match": {"comm": "e"}, "oom_score_adj": {"at_least": 640 + more}},
        {"name": "kids", "match": {"comm": "g"}, "oom_score_adj": {"value": 410 + more, "children": 55 + more}},
    ]  # fmt: skip
    bundle = {
        "name": "bundled", "match": {"comm": "h"}, "oom_score_adj": 830, "leave_limits": True,
        "cgroup": {"path": "/bundle", "controllers": [TREE]},
    }  # fmt: skip
    if variant == "none":
        given = []
    elif variant == "some":
        given = given[:2]
    whole = rules(*given, *([bundle] if variant != "unread" else []), dry_run=variant == "dry")
    return Rules(
        whole.rules, origins={"bundled": "bundle"}, unread={"bundle"} if variant == "unread" else (), dry_run=False
    )


class Machine(RuleBasedStateMachine):
    """Others do what they like, we are killed where it hurts, and moves take as long as they like."""

    @initialize(variant=st.sampled_from(["A", "B"]))
    def begin(self, variant):
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.node = Node(Path(self.folder.name))
        self.node.set_rules(made(variant))
        self.variant = variant

    def others(self):
        return sorted(pid for pid in self.node.kernel.processes if pid > 2)

    def pick(self, number):
        found = self.others()
        return self.node.kernel.processes[found[number % len(found)]]

    @rule(comm=st.sampled_from(COMMS), group=st.sampled_from(EXISTING), adj=st.sampled_from(OTHERS))
    def a_service_starts(self, comm, group, adj):
        if len(self.others()) < 12:
            program = self.node.forked(self.node.kernel.processes[1])
            self.node.kernel.write_adj(program, adj)
            self.node.kernel.move(program, group)
            self.node.executed(program, comm)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), comm=st.sampled_from(COMMS))
    def it_executes_another_program(self, number, comm):
        self.node.executed(self.pick(number), comm)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def it_forks(self, number):
        if len(self.others()) < 14:
            self.node.forked(self.pick(number))

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def it_forks_twice_and_the_middle_one_ends(self, number):
        if len(self.others()) < 14:
            middle = self.node.forked(self.pick(number))
            self.node.forked(middle)
            self.node.kernel.exit(middle)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def it_ends(self, number):
        self.node.kernel.exit(self.pick(number))

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), comm=st.sampled_from(COMMS))
    def it_ends_and_another_one_gets_its_number(self, number, comm):
        old = self.pick(number)
        self.node.kernel.exit(old)
        program = self.node.forked(self.node.kernel.processes[1], old.pid)
        self.node.executed(program, comm)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), value=st.sampled_from(OTHERS))
    def another_program_writes_its_value(self, number, value):
        self.node.kernel.write_adj(self.pick(number), value)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), group=st.sampled_from(EXISTING[:3]))
    def another_program_moves_it(self, number, group):
        self.node.kernel.move(self.pick(number), group)

    @rule(group=st.sampled_from(EXISTING[1:]), value=st.integers(1001, 4999))
    def another_program_writes_a_file(self, group, value):
        self.node.kernel.write_file(group, "pids.max", str(value))

    @rule(variant=st.sampled_from(["A", "B", "none", "some", "dry", "unread"]))
    def rules_are_set(self, variant):
        self.node.set_rules(made(variant))
        self.variant = variant

    @rule()
    def a_slice_of_a_sweep(self):
        self.node.sweep_step()

    @rule()
    def a_move_is_made(self):
        self.node.move_step()

    @rule()
    def we_hear_of_moves(self):
        self.node.fetch()

    @rule(fuse=st.integers(0, 12))
    def we_will_be_killed(self, fuse):
        self.node.kernel.fuse = fuse

    @rule()
    def we_are_killed_now(self):
        self.node.restart()

    @rule(what=st.sampled_from(["adj", "join", "file", ""]))
    def the_kernel_refuses(self, what):
        self.node.kernel.refuses = {what}

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), value=st.integers(900, 905))
    def it_is_held_by_hand(self, number, value):
        program = self.pick(number)
        with self.node.killed():
            try:
                self.node.keeper.override(program.pid, None, value, 1 << 62, "test")
            except Exception:
                if "adj" not in self.node.kernel.refuses:
                    raise

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def the_hold_ends(self, number):
        with self.node.killed():
            self.node.keeper.end_override(self.pick(number).pid)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def one_process_is_restored(self, number):
        with self.node.killed():
            self.node.keeper.restore(pid=self.pick(number).pid)

    @rule(name=st.sampled_from(["value", "move", "own"]))
    def one_rule_is_restored(self, name):
        with self.node.killed():
            self.node.keeper.restore(rule=name)

    @rule()
    def everything_settles(self):
        """No refusals and no kills any more: each process under a rule has what the rule says."""
        kernel = self.node.kernel
        kernel.fuse, kernel.refuses = -1, set()
        self.node.settle()
        if self.variant not in ("A", "B"):
            return
        suspended, let_go = self.node.reconciler.suspended, self.node.reconciler.force.let_go
        for program in kernel.processes.values():
            if program.lost:
                continue
            held = self.node.journal.table.held(program.pid, program.start_ticks)
            if held is not None and held.override is not None:
                assert program.adj == held.override.adj
            elif program.comm in "abeg" and not suspended and (program.pid, program.start_ticks) not in let_go:
                assert program.adj in self.wanted(program), program

    def wanted(self, program):
        more = 10 * (self.variant == "B")
        if program.comm == "g":
            parent = self.node.kernel.processes.get(program.ppid)
            if parent is not None and parent.comm == "g":
                return (55 + more, program.own_adj)  # who chose its own value keeps it
            return (410 + more,)
        if program.comm == "e":
            return (max(program.own_adj, 640 + more),)
        return ({"a": 500, "b": 310}[program.comm] + more,)

    @rule(how=st.sampled_from(["restore", "no rules"]))
    def undo(self, how):
        """Everything is as if we had never been there."""
        kernel = self.node.kernel
        kernel.fuse, kernel.refuses = -1, set()
        if how == "restore":
            with self.node.killed():
                self.node.keeper.restore()
            self.node.settle()
        else:
            overridden = list(self.node.journal.table.overridden)
            for pid in overridden:
                self.node.keeper.end_override(pid)
            self.node.set_rules(Rules())
            self.variant = "none"
            self.node.settle()
        for program in kernel.processes.values():
            if program.lost:
                continue
            assert (program.adj, program.group) == (program.own_adj, program.own_group), program
        assert kernel.files == kernel.own_files
        assert kernel.groups == set(EXISTING)
        assert list(self.node.journal.table.rows()) == []

    def teardown(self):
        if hasattr(self, "node"):
            self.undo("restore")
            self.node.stop()
            self.folder.cleanup()


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(sweep_module, "SLICE", 3)


Machine.TestCase.settings = settings(
    phases=[Phase.reuse, Phase.generate] if os.environ.get("NOSHRINK") else list(Phase),
    max_examples=int(os.environ.get("HOLDFAST_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnythingInAnyOrder = Machine.TestCase
