"""Anything in any order: whatever happens, each process and file ends with what the model says.

The model is in `tests.fakes.kernel`: what each process and file would have if there were no holdfast. Everything else
is the real thing: the reconciler, the examiner, the executor, the journal and its file, the rescans.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from pathlib import Path

import pytest
from holdfast.cgroups.face import parent
from holdfast.errors import FailedPrecondition, Unavailable
from holdfast.node.engine import sweep as sweep_module
from holdfast.node.engine.entry import Now
from holdfast.node.journal.line import Header, packed, seed_of, unpacked
from holdfast.node.journal.rows import FileRow
from holdfast.node.rule.ruleset import Rules
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fakes.kernel import EXISTING, TREE, Tree
from tests.fakes.node import Node
from tests.fakes.placement import rules

#: Values of other programs, never one of a rule's.
OTHERS = (0, 3, 7, 120, 205, 211, 801)
OURS = ("/made", "/made/b", "/bundle")  # groups that rules make
CONTAINER = "/container"  # a group that a runtime makes
TARGETS = {"b": ("/made", "/made/b"), "c": ("/src3", "/src3"), "h": ("/bundle", "/bundle")}
COMMS = ("a", "b", "c", "d", "e", "g", "h", "none")


def made(variant: str) -> Rules:
    """Rules A and B differ in every value; ``dry``: A that only plans; ``renamed``: A under other names."""
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
    if variant == "renamed":
        given = [{**one, "name": f"{one['name']}-too"} for one in given]
    elif variant == "none":
        given = []
    elif variant == "some":
        given = given[:2]
    whole = rules(*given, *([bundle] if variant != "unread" else []), dry_run=variant == "dry")
    return Rules(
        whole.rules, origins={"bundled": "bundle"}, unread={"bundle"} if variant == "unread" else (), dry_run=False
    )


#: A line of a kind that no release knows yet.
NICE = b'{"kind":"nice","pid":7,"start_ticks":1,"before":0}'


def line(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text, seed_of("boot")), text)


def newer(journal: Path) -> None:
    """Rewrite a journal as a newer release would: format 3, which a reader of 2 understands."""
    _, *rows = journal.read_bytes().splitlines()
    known = [line(b'{"nice":-5,' + row[10:]) for row in rows if NICE not in row]
    seed = seed_of("boot")
    assert [unpacked(row[:-1], seed) for row in known] == [unpacked(row, seed) for row in rows if NICE not in row]
    journal.write_bytes(packed(Header(3, 2, "boot"), 0) + line(NICE) + b"".join(known))


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

    @rule(group=st.sampled_from(OURS), moments=st.integers(0, 8))
    def another_program_makes_a_group_of_our_name(self, group, moments):
        """At once, or between two of our own writes, commits and looks."""
        kernel = self.node.kernel

        def make():
            if group not in kernel.groups and parent(group) in kernel.own_groups:  # in ours, that would have to stay
                kernel.make_group(group)

        kernel.meanwhile.append((moments, make))

    @rule(group=st.sampled_from((*OURS, CONTAINER)))
    def another_program_removes_an_empty_group(self, group):
        kernel = self.node.kernel
        tree = Tree(kernel)
        if group in kernel.groups and not tree.members(group) and not tree.children(group):
            kernel.remove_group(group)

    @rule(group=st.sampled_from(EXISTING[1:3]))  # no rule's target
    def another_program_removes_a_group_that_was_there(self, group):
        """It makes it again when it puts a process there, or writes a file."""
        kernel = self.node.kernel
        if group in kernel.groups and all(
            group not in (program.group, program.own_group) for program in kernel.processes.values()
        ):
            kernel.remove_group(group)

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), comm=st.sampled_from(COMMS))
    def it_renames_itself_and_nobody_tells(self, number, comm):
        self.pick(number).comm = comm

    @precondition(lambda self: self.others())
    @rule(
        moments=st.integers(0, 8),
        what=st.sampled_from(["write", "move", "file", "rename", "exit", "fork"]),
        number=st.integers(0, 11),
        value=st.sampled_from(OTHERS),
        group=st.sampled_from(EXISTING[:3]),
    )
    def while_we_are_at_it_another_program_does_something(self, moments, what, number, value, group):
        """It happens between two of our own writes, commits and looks."""
        kernel, program = self.node.kernel, self.pick(number)
        if what == "fork":
            self.node.forking(program, moments)
            return

        def act():
            if kernel.processes.get(program.pid) is not program:
                return
            if what == "write":
                kernel.write_adj(program, value)
            elif what == "move":
                kernel.move(program, group)
            elif what == "file":
                kernel.write_file(group if group != "/" else "/src3", "pids.max", str(2000 + value))
            elif what == "rename":
                program.comm = "none"
            else:
                kernel.exit(program)

        kernel.meanwhile.append((moments, act))

    @rule(comm=st.sampled_from(COMMS), first=st.booleans())
    def a_runtime_creates_a_process_with_a_rules_value(self, comm, first):
        """The request was 77 and it wrote what rule ``value`` says; it reports before or after the program runs."""
        if len(self.others()) >= 12:
            return
        given = 500 + 10 * (self.variant == "B")
        program = self.node.forked(self.node.kernel.processes[1])
        program.adj, program.own_adj = given, 77
        if first:
            self.node.executed(program, comm)
        restarts = -1
        while restarts != self.node.restarts:  # who remembers what it created tells again
            restarts = self.node.restarts
            with self.node.killed(), self.may_find_no_room():
                self.node.examiner.adopt(program.pid, 77, given, "value")
        if not first:
            self.node.executed(program, comm)

    @precondition(lambda self: "journal" not in self.node.kernel.refuses)
    @rule()
    def a_runtime_creates_a_group_with_a_rules_text(self):
        """The request was 300 and it wrote what rule ``place`` says."""
        kernel = self.node.kernel
        if CONTAINER in kernel.groups:
            return
        kernel.make_group(CONTAINER)
        place = CONTAINER, "pids.max"
        kernel.files[place], kernel.own_files[place] = str(77 + 10 * (self.variant == "B")), "300"
        row = FileRow(TREE, *place, "300", "place", written=kernel.files[place])
        restarts = -1
        while restarts != self.node.restarts:
            restarts = self.node.restarts
            with self.node.killed():
                self.node.examiner.adopt_files([row])

    @rule(variant=st.sampled_from(["A", "B", "renamed", "none", "some", "dry", "unread"]))
    def rules_are_set(self, variant):
        self.node.set_rules(made(variant))
        self.variant = variant

    @precondition(lambda self: self.variant in ("A", "renamed"))
    @rule()
    def rules_get_other_names(self):
        """No process is changed."""
        kernel = self.node.kernel
        self.calm_down()
        self.node.set_rules(made(self.variant))
        self.node.settle()
        had = {program: (program.adj, program.group) for program in kernel.processes.values()}
        self.variant = "renamed" if self.variant == "A" else "A"
        self.node.set_rules(made(self.variant))
        self.node.settle()
        assert {program: (program.adj, program.group) for program in kernel.processes.values()} == had

    @rule()
    def a_slice_of_a_sweep(self):
        self.node.sweep_step()

    @rule()
    def a_move_is_made(self):
        self.node.move_step()

    @rule()
    def we_hear_of_moves(self):
        self.node.fetch()

    @rule(fuse=st.integers(0, 12), tear=st.integers(0, 100))
    def we_will_be_killed(self, fuse, tear):
        """At a write, or in the middle of a line of the journal: ``tear`` hundredths of it are written."""
        self.node.kernel.fuse, self.node.tear = fuse, tear

    @rule()
    def we_are_killed_now(self):
        self.node.restart()

    @rule()
    def a_newer_release_runs_for_a_while(self):
        """It leaves a format that we can read, with a field and a kind of row that we do not know."""
        if self.node.journal._is_stale or "journal" in self.node.kernel.refuses:
            return  # what is only in memory is lost, whoever comes next; a start needs room
        self.node.restart(newer)
        self.node.journal._write_anew()
        assert NICE in self.node.journal.path.read_bytes()

    @rule(what=st.sampled_from(["adj", "join", "file", "make", "remove", "journal", ""]))
    def the_kernel_refuses(self, what):
        self.node.kernel.refuses = {what}

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11), value=st.integers(900, 905))
    def it_is_held_by_hand(self, number, value):
        program = self.pick(number)
        with self.node.killed():
            try:
                self.node.examiner.override(program.pid, None, value, 1 << 62, "test")
            except (FailedPrecondition, Unavailable):
                if not self.node.kernel.refuses & {"adj", "journal"}:
                    raise

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def the_hold_ends(self, number):
        with self.node.killed(), self.may_find_no_room():
            self.node.examiner.end_override(self.pick(number).pid)

    @rule()
    def the_time_of_holds_is_over(self):
        with self.node.killed():
            self.node.examiner.expire(Now(1 << 63, 1 << 62))

    @precondition(lambda self: self.others())
    @rule(number=st.integers(0, 11))
    def one_process_is_restored(self, number):
        with self.node.killed(), self.may_find_no_room():
            self.node.examiner.restore(pid=self.pick(number).pid)

    @rule(name=st.sampled_from(["value", "move", "own"]))
    def one_rule_is_restored(self, name):
        with self.node.killed():
            self.node.examiner.restore(rule=name)

    @rule()
    def everything_settles(self):
        """No refusals and no further kills: each process under a rule has what the rule says."""
        kernel = self.node.kernel
        self.calm_down()
        self.node.settle()
        if self.variant not in ("A", "B", "renamed"):
            return
        suspended, let_go = self.node.reconciler.suspended, self.node.reconciler.rule_state.let_go
        for program in kernel.processes.values():
            if program.lost:
                continue
            held = self.node.journal.table.held(program.pid, program.start_ticks)
            is_restored = bool(suspended) or (program.pid, program.start_ticks) in let_go
            if program.comm in TARGETS and not is_restored:
                assert program.group == TARGETS[program.comm][self.variant == "B"], program
            if held is not None and held.override is not None:
                assert program.adj == held.override.adj
            elif program.comm in "abeg" and not is_restored:
                assert program.adj in self.wanted(program), program

    def calm_down(self):
        """Nothing is refused, no kill -9, others are quiet."""
        kernel = self.node.kernel
        kernel.fuse, kernel.refuses, kernel.meanwhile = -1, set(), []

    @contextlib.contextmanager
    def may_find_no_room(self):
        try:
            yield
        except Unavailable:
            if "journal" not in self.node.kernel.refuses:
                raise

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
        self.calm_down()
        if how == "restore":
            with self.node.killed():
                self.node.examiner.restore()
            self.node.settle()
        else:
            overridden = list(self.node.journal.table.overridden)
            for pid in overridden:
                self.node.examiner.end_override(pid)
            self.node.set_rules(Rules())
            self.variant = "none"
            self.node.settle()
        for program in kernel.processes.values():
            if program.lost:
                continue
            assert (program.adj, program.group) == (program.own_adj, program.own_group), program
        assert kernel.files == kernel.own_files
        assert kernel.groups == kernel.own_groups
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
TestAnythingInAnyOrder = pytest.mark.timeout(1800)(Machine.TestCase)  # seconds alone, minutes on a crowded machine
