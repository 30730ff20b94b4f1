"""Finds the processes that may have something to change, by reading a file or two, and reads the facts of those."""

from __future__ import annotations

from collections.abc import Callable, Container

from msgspec.structs import replace

from holdfast.errors import ProcessGone
from holdfast.node.engine.entry import Now
from holdfast.node.engine.match_cache import MatchCache
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.engine.required_files import wants_of
from holdfast.node.model.evidence import EXECUTED
from holdfast.node.model.process import Lineage, Process, Wants
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.host import Groups
from holdfast.node.proc.parse import StatLine, name_and_parent
from holdfast.node.proc.reader import ProcReader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess

#: Stages that runc runs in a container for milliseconds before the process that becomes the program
#: (``runc:[2:INIT]``). That process would inherit a value of ours from them that is not known to be ours.
_RUNC_STAGES = frozenset({"runc:[0:PARENT]", "runc:[1:CHILD]"})
_STAGE_TICKS = 100  # a second, in clock ticks: what a stage may take on a busy machine


class FactReader:
    """Reads no more of a process than the rules and our changes to it require."""

    def __init__(self, reader: ProcReader, evidence: EvidenceReader, reconciler: Reconciler) -> None:
        self._reader, self._evidence, self._reconciler = reader, evidence, reconciler
        self.match_cache = MatchCache(reader)
        self._wants = self._sweep_wants = Wants()

    def set_rules(self, rules: Rules) -> None:
        """Read the facts for these rules from now on."""
        self._wants = wants_of(rules)
        lends = rules.any_lends or any(rule.has_children for rule in rules.rules)
        self._sweep_wants = replace(self._wants, groups=True, status=self._wants.status or lends)
        self.match_cache.set_rules(rules)
        self.refresh_groups()

    def refresh_groups(self) -> None:
        """Read groups again at their next use; a pod may be known by now."""
        self.match_cache.forget_groups()
        self._reader.begin_round()
        self._evidence.forget()
        self.forget_groups()

    def forget_groups(self) -> None:
        """Read each group again at its next use: one that did not exist may have been made."""
        if isinstance(self._reconciler.host.groups, Groups):
            self._reconciler.host.groups.forget()

    def may_have_ours(self, pid: int, ppid: int) -> bool:
        """Whether a process is known, or may have something of ours from its parent, whatever the rules ask about."""
        return self._reconciler.is_known(pid) or self.may_inherit(ppid)

    def of_interest(self, stat_line: StatLine, *, ours: bool) -> bool:
        """Whether a process may have something to change, as far as one file shows; ``ours``: see `may_have_ours`.

        Raises:
            ProcessGone: the process has ended, and its parent has not waited for it yet.
        """
        if stat_line.ended:
            raise ProcessGone(str(stat_line.pid))
        if stat_line.pid == self._reconciler.host.own_pid:
            return False
        if stat_line.kernel_thread:
            if self.match_cache.could_match(stat_line.comm):  # a process of its name is seldom one of interest, either
                self.match_cache.note(stat_line.comm, self._reader.group_text(stat_line.pid), in_no_pod=True)
            return False
        return ours or self.match_cache.could_match(stat_line.comm)

    def is_runc_stage(self, stat_line: StatLine, process: OpenProcess, now: Callable[[], Now]) -> bool:
        """Whether an event is about a process in which runc starts a container.

        A process chooses its name. A stage is root's and young, and a rescan examines whatever has the name.

        Raises:
            ProcessGone: the process ended.
        """
        if stat_line.comm not in _RUNC_STAGES or now().ticks - stat_line.start_ticks >= _STAGE_TICKS:
            return False
        return self._reader.real_uid_of(process) == 0

    def may_inherit(self, ppid: int) -> bool:
        """Whether a child of ``ppid`` may have something of ours, or a rule because of its ancestor."""
        return ppid in self._reconciler.descent or ppid in self._reconciler.followed

    @property
    def parents(self) -> Container[int]:
        """The pids whose children are worth examining; empty, and cheap to read, where there are none."""
        table, followed = self._reconciler.table.processes, self._reconciler.followed
        recent = self._reconciler.descent.recent_rows.pids
        return {*table, *followed, *recent} if followed or recent else table

    def first_look(self, process: OpenProcess, *, is_event: bool) -> tuple[bytes, bool] | None:
        """Return the ``stat`` of an open process, read once for the whole examination, and `may_have_ours`.

        None: an event is about a process of which the cache says that no rule can match its name, or its name in its
        groups. Most processes of a node cost a file or two.

        Raises:
            ProcessGone: the process ended.
        """
        reader, reconciler, has = self._reader, self._reconciler, self.match_cache.has
        is_strange = not reconciler.is_known(process.pid)
        nothing_is_ours = is_event and is_strange and not (reconciler.descent or reconciler.followed)
        if nothing_is_ours and has(reader.name_of(process), process):
            return None
        text = reader.stat_of(process)
        name, ppid = name_and_parent(text)
        ours = not is_strange or self.may_inherit(ppid)
        return None if is_event and not (ours or nothing_is_ours) and has(name, process) else (text, ours)

    def alone(self, stat_line: StatLine) -> Process:
        """Return a process without its ancestors, as a rescan reads it.

        Raises:
            ProcessGone: the process ended.
        """
        return self._reader.facts(stat_line, self._sweep_wants)

    def facts(
        self, stat_line: StatLine, opened: OpenProcess | None = None, *, ours: bool, read_again: bool = True
    ) -> Process:
        """Return the facts that the rules ask about. A rescan reads the groups as well.

        An exec reads the groups only if a rule asks, or if the process may have something of ours.

        Raises:
            ProcessGone: the process ended.
        """
        reader, reconciler = self._reader, self._reconciler
        wants = self._sweep_wants if opened is None or ours else self._wants
        facts = reader.facts(stat_line, wants, None, opened)
        if ours or facts.pod is not None:  # otherwise it has nothing from another process
            facts = reconciler.known(facts)
        lineage = self._lineage_of(facts, sweep=opened is None)
        facts = reader.with_ancestors(facts, lineage, self._wants, reconciler.held)
        keys, line = reconciler.rules.evidence_for(facts)
        facts = self._evidence.attach(facts, keys, opened, line=line)
        if facts.evidence.exe == EXECUTED and read_again:  # between the reads: the first one is another program's
            fresh = reader.stat_line(stat_line.pid) if opened is None else reader.stat_line_of(opened)
            return self.facts(fresh, opened, ours=ours, read_again=False)
        return facts

    def _lineage_of(self, facts: Process, *, sweep: bool) -> Lineage:
        """Return how much of the process's ancestry can change anything."""
        rules = self._reconciler.rules
        if rules.any_lends and (self.may_inherit(facts.ppid) or facts.held is not None):
            return Lineage.ALL
        if rules.lineage is Lineage.NONE:
            return Lineage.NONE
        return rules.lineage if sweep or self._asks_ancestors_of(facts) else Lineage.NONE

    def _asks_ancestors_of(self, facts: Process) -> bool:
        """Whether its ancestors can change anything: for nine execs of ten they cannot, which saves 0.5 ms each."""
        rules = self._reconciler.rules
        known = self._reconciler.is_known(facts.pid) or facts.ppid in self._reconciler.followed
        return known or rules.asks_ancestors_of(facts)
