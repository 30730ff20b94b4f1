"""What follows for each process from what is seen of it, and what becomes of what was done. No I/O, clock, thread.

Theory
------
1. *One table.* What we changed is in the journal's table and nowhere else; what is shown of it (`Placement`) is beside
   it, here. ``observe`` and the others answer with actions; who carries them out (`apply.executor`) comes back with
   results, which ``settle`` takes. In between nothing is assumed: a value is ours when it is known to be written.
2. *Before* is what would stand without us (`heritage` has the definition). It is never a value of ours.
3. *A row has a life*: wanted (in the journal, perhaps written) → written → given back and dropped. What the kernel
   refuses was not written, so ``wanted`` goes and ``written`` stays as it was. What cannot be given back stays a row
   and is tried at each look, until it can be or the process or group is gone; this is told once.
4. *What is under way is waited for.* A move may take 14 ms, on another thread. While a process has an order under way
   its moves are not decided anew: it is looked at again when the order is settled, so that who leaves a rule meanwhile
   is moved back after it was moved.
5. *Heirs are ours.* Who inherited a value of ours and falls under no rule has a row: it is shown (`State.INHERITED`),
   and is given back when the rule it came by is no more, by restore, or when we stop with ``on_stop: restore``.
6. *No rule known is not no rule.* What stands under a rule of a source that cannot be read now, and what asks for a pod
   that is not known yet, stands on.
7. *Preview* is `decide`: the same, with nothing done about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from holdfast.node.apply.action import (
    Action,
    Came,
    Carried,
    Cleared,
    Commit,
    Follow,
    Forget,
    GiveBack,
    Heirs,
    How,
    Look,
    Move,
    Order,
    Refused,
    Result,
    Return,
    Set,
    Step,
    Stuck,
    Terms,
    Write,
    Wrote,
)  # fmt: skip
from holdfast.node.engine.clearance import Clearance
from holdfast.node.engine.entry import KEPT, Entry, Now, by_hand, tell
from holdfast.node.engine.forks import Forks
from holdfast.node.engine.heritage import giver_of, inherited_adj, inherited_moves, wanting_adj
from holdfast.node.engine.in_force import InForce
from holdfast.node.journal.rows import AdjRow, FileRow, MoveRow, OverrideRow, Row
from holdfast.node.journal.table import Held as Rows
from holdfast.node.journal.table import Table
from holdfast.node.model.decision import AdjChange, Decision, Field, MoveChange, Reason, Refusal
from holdfast.node.model.placement import BY_HAND, Happening, Placement, State, state_of
from holdfast.node.model.process import Held, HostFacts, PodLookup, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.plan import plan
from holdfast.node.rule.ruleset import Rules


class Reconciler:
    """See the theory above."""

    def __init__(self, table: Table, host: HostFacts, pods: PodLookup | None = None) -> None:
        self.table, self.host = table, host
        self.force = InForce(table)
        self.claims = Claims()
        self.entries: dict[int, Entry] = {}
        self.followed: set[int] = set()
        self._forks = Forks(table)
        self._clearance = Clearance(self.force, host, pods)
        self._orders = 0

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self.force.rules

    @property
    def suspended(self) -> set[str]:
        """Rules that were given back and wait to be set again."""
        return self.force.suspended

    def clear_up(self) -> list[Action]:
        """See `Clearance.clear_up`."""
        return self._clearance.clear_up()

    # -- asked -------------------------------------------------------------------------------------------------------

    def placements(self) -> list[Placement]:
        """What is shown of every process under a rule or with something of ours."""
        return [entry.placement for entry in list(self.entries.values())]

    def placement(self, pid: int) -> Placement | None:
        """That of one process."""
        entry = self.entries.get(pid)
        return entry.placement if entry is not None else None

    def is_known(self, pid: int) -> bool:
        """Whether a process is to be looked at, whatever its name."""
        return pid in self.entries or pid in self.table.processes or self._forks.forker(pid) is not None

    def held(self, pid: int, start_ticks: int) -> Held | None:
        """What we did to a process's ``oom_score_adj``, as a plan asks about it."""
        row = self.table.adj(pid, start_ticks)
        if row is None:
            return None
        written = row.wanted if row.written is None else row.written
        return Held(row.before, written or 0, row.rule, row.as_child, row.heir_of is not None)

    def known(self, process: Process) -> Process:
        """A process with what we did to its ``oom_score_adj``, or to who it inherited that from."""
        row = self.table.adj(process.pid, process.start_ticks)
        if row is None:
            giver = giver_of(process, process.oom_score_adj, self.table, self._forks.forker(process.pid))
            return (
                process
                if giver is None
                else replace(process, held=Held(giver.before, process.oom_score_adj, giver.rule, heir=True))
            )
        written = process.oom_score_adj if row.is_ours(process.oom_score_adj) else row.written
        written = row.before if written is None else written
        return replace(process, held=Held(row.before, written, row.rule, row.as_child, row.heir_of is not None))

    def decide(self, process: Process) -> Decision | None:
        """What follows for a process (as `known`), nothing is done about it; None: what stands, stands on."""
        identity = process.pid, process.start_ticks
        held = self.table.held(*identity)
        if held is not None and held.override is not None:
            return by_hand(process, held.override)
        decision = plan(process, self.rules, self.host, self.claims)
        if self._stands_on(process, held, decision):
            return None
        if decision.rule in self.suspended:
            self.claims.withdraw(decision.rule or "")
        if decision.rule in self.suspended or identity in self.force.let_go:
            return Decision(*identity)
        return decision

    def _stands_on(self, process: Process, held: Rows | None, decision: Decision) -> bool:
        """Whether it is under a rule that nobody can read now, or about a pod or words not known now."""
        if (process.pid, process.start_ticks) in self.force.let_go:
            return False
        own = [row for row in held.values if row.heir_of is None] if held is not None else []
        entry = self.entries.get(process.pid)
        rule = entry.placement.rule if entry is not None else own[0].rule if own else None
        if rule is None or rule == decision.rule:
            return False
        nameless = process.pod is not None and not process.pod.name and self.rules.asks_runtime(rule)
        unknown = nameless or (bool(process.unread) and self.rules.asks_cmdline(rule))
        return (unknown and rule not in self.suspended) or any(map(self.force.is_unread, own))

    # -- told --------------------------------------------------------------------------------------------------------

    def set_rules(self, rules: Rules) -> list[Action]:
        """Decide by these from now on; who is under an older rule is to be looked at."""
        self.force.take(rules)
        self.claims.clear()
        return [Follow()]

    def suspend(self, rule: str | None = None, pid: int | None = None) -> list[Action]:
        """No rule, or not this one, or none for this process, applies until rules are set again; the rest is looks."""
        if pid is not None:
            held = self.table.processes.get(pid)
            entry = self.entries.get(pid)
            if held is not None:
                self.force.let_go.add((pid, held.start_ticks))
            elif entry is not None:
                self.force.let_go.add((pid, entry.placement.start_ticks))
        else:
            self.suspended.update((rule,) if rule is not None else self.force.all_rules())
        overrides: tuple[Row, ...] = ()
        if rule is None:
            overrides = tuple(row for row in list(self.table.overridden.values()) if pid in (None, row.pid))
        looks = [Look(one) for one in self._affected(rule, pid)]
        return [*([Commit(drops=overrides, needed=True)] if overrides else []), *looks]

    def _affected(self, rule: str | None, pid: int | None) -> list[int]:
        """Heirs come last: who gave is given back with its children looked at first, and each by its own row."""
        found = dict.fromkeys(
            one
            for one, entry in list(self.entries.items())
            if rule in (None, entry.placement.rule) and pid in (None, one)
        )
        for held in list(self.table.processes.values()):
            of_it = any(
                pid in (None, held.pid) or (not isinstance(row, OverrideRow) and _given_by(row, pid))
                for row in held.rows
                if isinstance(row, OverrideRow) or rule in (None, row.rule)
            )
            if of_it:
                found[held.pid] = None
        return list(found)

    def forked(self, parent: int, child: int) -> list[Action]:
        """A process forked."""
        return [Look(child)] if self._forks.told(parent, child) else []

    def begin(self) -> None:
        """Everybody is looked at from now on."""
        self._forks.begin()

    def gone(self, pid: int, start_ticks: int | None = None) -> list[Action]:
        """A process (``start_ticks`` None: who had the number) is no more. The dead are forgotten in slices."""
        entry, held = self.entries.get(pid), self.table.processes.get(pid)
        if entry is not None and start_ticks in (None, entry.placement.start_ticks):
            del self.entries[pid]
        follow = self._unfollow(pid) if pid not in self.entries else []
        if held is not None and start_ticks in (None, held.start_ticks):
            self.force.let_go.discard((pid, held.start_ticks))
            return [Forget(tuple(held.rows)), *follow]
        return follow

    def adopt(self, process: Process, asked: int, written: int, rule: str) -> list[Action]:
        """A process was created with a value that ``rule`` gave it, in place of ``asked``: as if we had written it.

        Nothing, if it has another value by now, or is overridden. What was there before is ``asked`` even where we were
        quicker than the runtime, and wrote over what its process had from the shim, and where we came so late that
        another rule took what it was born with for its own. It is given back at once if the rule is no more.
        """
        held = self.table.held(process.pid, process.start_ticks)
        known = held.adj if held is not None else None
        if known is not None and known.before == written:
            row = replace(known, before=asked, since_ticks=process.start_ticks, earlier=(written, *known.earlier[:2]))
        elif process.oom_score_adj == written and (held is None or held.override is None):
            spec = self.rules.spec_named(rule)
            row = AdjRow(
                process.pid,
                process.start_ticks,
                asked,
                rule,
                written=written,
                since_ticks=process.start_ticks,
                give_back=spec is None or spec.on_remove == "restore",
                origin=self.rules.origin_of(rule),
            )
        else:
            return []
        container = process.pod.container_id if process.pod is not None else ""
        others = [
            one.pid
            for one in self.placements()
            if container and one.pod is not None and one.pod.container_id == container and one.pid != process.pid
        ]
        return [Commit((row,)), *map(Look, (process.pid, *others))]

    def adopt_files(self, rows: Iterable[FileRow]) -> list[Action]:
        """Files of a group say what a rule wants, written by who made the group: as if we had written them."""
        adopted = []
        for row in rows:
            spec = self.rules.spec_named(row.rule)
            give_back = spec is None or spec.on_remove == "restore"
            adopted.append(replace(row, give_back=give_back, origin=self.rules.origin_of(row.rule)))
        return [Commit(tuple(adopted))] if adopted else []

    def override(self, row: OverrideRow) -> list[Action]:
        """Hold a process by hand; it replaces an earlier override."""
        return [Commit((row,), needed=True), Look(row.pid)]

    def end_override(self, row: OverrideRow, *, needed: bool = True) -> list[Action]:
        """The rules decide again. Not ``needed``: also where the journal cannot be written."""
        return [Commit(drops=(row,), needed=needed), Look(row.pid)]

    def expired(self, unix_ns: int) -> list[OverrideRow]:
        """The overrides whose time is over."""
        return [row for row in list(self.table.overridden.values()) if row.expires_unix_ns <= unix_ns]

    # -- seen --------------------------------------------------------------------------------------------------------

    def observe(self, process: Process, now: Now, at_ns: int = 0) -> list[Action]:
        """What follows from what was seen of a process; ``at_ns``: the event that led to it, or 0."""
        actions = self.inherit(process) + self._heirs_first(process)
        entry = self.entries.get(process.pid)
        seen = self.known(process)
        decision = self.decide(seen)
        if decision is None:
            return actions + self._stand(process, entry, now)
        if decision.rule is None:
            return actions + self._unruled(process, entry, now)
        if entry is None:
            if not at_ns and seen.held is None and (giver := self._orphans_giver(process, decision.rule)) is not None:
                return actions + self._record(inherited_adj(process, giver)) + self.observe(process, now)
            entry = Entry(
                Placement(process.pid, process.start_ticks, process.comm, decision.rule, since_ns=now.unix_ns)
            )
        self._note(entry, seen, decision, now)
        actions += self._refollow(process.pid, decision.rule)
        if decision.dry_run:
            actions += self._plan_only(entry, decision, now)
        else:
            actions += self._rule(entry, seen, decision, now, at_ns)
        self.entries[process.pid] = entry  # at last: another thread may show it, and its state is known now
        return actions

    def _heirs_first(self, process: Process) -> list[Action]:
        """Where another program chose since, "before" is about to change: what was forked until then has the old."""
        held = self.table.held(process.pid, process.start_ticks)
        rows = held.values if held is not None else []
        if self._is_moving(process.pid):
            rows = [row for row in rows if isinstance(row, AdjRow)]
        return [Heirs(process.pid)] if any(_is_chosen(row, process) for row in rows) else []

    def _succeed(self, process: Process) -> list[Action]:
        """Whoever had the number before is gone."""
        actions: list[Action] = []
        for known in (self.entries.get(process.pid), self.table.processes.get(process.pid)):
            ticks = known.placement.start_ticks if isinstance(known, Entry) else known.start_ticks if known else 0
            if known is not None and ticks != process.start_ticks:
                actions += self.gone(process.pid, ticks)
        return actions

    def _agree(self, process: Process, entry: Entry | None) -> None:
        """What may have been written, was or was not: what is there says so."""
        held = self.table.held(process.pid, process.start_ticks)
        if held is None:
            return
        if held.adj is not None and held.adj.wanted is not None:
            self._settle_row(held.adj, done=process.oom_score_adj == held.adj.wanted)
        if process.cgroups and (entry is None or not entry.order):
            for row in held.moves.values():
                if row.wanted is not None:
                    self._settle_row(row, done=process.cgroups.get(row.hierarchy) == row.wanted)

    def _settle_row(self, row: AdjRow | MoveRow | FileRow, *, done: bool) -> None:
        """A row as it is now; one under which nothing was written stays until it is forgotten."""
        after = row.settled() if done else row.refused()
        if after is not None:
            self.table.put(after)

    def inherit(self, process: Process) -> list[Action]:
        """Have rows for what a process has from another one that has it from us; whoever had its number is gone."""
        actions = self._succeed(process)
        self._agree(process, self.entries.get(process.pid))
        held = self.table.held(process.pid, process.start_ticks)
        rows: list[AdjRow | MoveRow] = []
        if held is None or (held.adj is None and held.override is None):
            giver = giver_of(process, process.oom_score_adj, self.table, self._forks.forker(process.pid))
            if giver is not None:
                rows.append(inherited_adj(process, giver))
        elif held.adj is not None and held.adj.heir_of is None:
            giver = giver_of(process, held.adj.before, self.table, self._forks.forker(process.pid))
            if giver is not None and giver.before != held.adj.before:  # we were told of it late: before is never ours
                rows.append(replace(held.adj, before=giver.before))
        if process.cgroups and not self._is_moving(process.pid):
            rows += inherited_moves(
                process, held.moves if held is not None else (), self.table, self._forks.forker(process.pid)
            )
        self._forks.forget(process.pid)  # it is known by its rows from now on
        return actions + self._record(*rows)

    def _record(self, *rows: AdjRow | MoveRow) -> list[Action]:
        """Rows of what is so already: in the table at once, in the file when there is room."""
        for row in rows:
            self.table.put(row)
        return [Commit(rows)] if rows else []

    def _orphans_giver(self, process: Process, rule: str) -> AdjRow | None:
        """Who handed its value on to a process that came by no exec and whose parent is gone: a daemon's second fork.

        It runs the program of another one under the same rule, which had its value when it started.
        """
        for held in list(self.table.processes.values()):
            row = held.adj
            if row is None or row.rule != rule or not row.gave(process.oom_score_adj, process.start_ticks):
                continue
            entry = self.entries.get(held.pid)
            if entry is not None and entry.placement.comm == process.comm:
                return row
        return None

    def _stand(self, process: Process, entry: Entry | None, now: Now) -> list[Action]:
        held = self.table.held(process.pid, process.start_ticks)
        if entry is None and held is not None:
            rule = held.values[0].rule
            placement = Placement(process.pid, process.start_ticks, process.comm, rule, since_ns=now.unix_ns)
            entry = self.entries[process.pid] = Entry(placement)
        if entry is not None:
            self._look_of(entry.placement, process)
        return []

    def _look_of(self, placement: Placement, process: Process) -> None:
        """What is shown of a process as it is now."""
        row = self.table.adj(process.pid, process.start_ticks)
        placement.comm = process.comm
        placement.oom_score_adj = process.oom_score_adj
        placement.adj_before = row.before if row is not None else None
        if process.cgroups:  # not read at an exec when no rule asks; the next sweep fills it in
            placement.group, placement.pod = process.memory_group, process.pod

    # -- under a rule ------------------------------------------------------------------------------------------------

    def _note(self, entry: Entry, process: Process, decision: Decision, now: Now) -> None:
        """What is shown, whatever is written."""
        placement = entry.placement
        assert decision.rule is not None
        if placement.rule != decision.rule:
            placement.rule, placement.since_ns = decision.rule, now.unix_ns
        elif placement.state is State.PLANNED and not decision.dry_run:
            placement.since_ns = now.unix_ns  # the dry run is over: held since now
        if placement.state in (State.INHERITED, State.RETURNING):
            placement.state, placement.since_ns = State.HELD, now.unix_ns
        placement.as_child, placement.by_claim = decision.as_child, decision.by_claim
        placement.adjusts, placement.inherited = decision.adjusts, decision.inherited
        self._look_of(placement, process)
        held = self.table.held(process.pid, process.start_ticks)
        override = held.override if held is not None else None
        placement.expires_ns = override.expires_unix_ns if override is not None else 0

    def _plan_only(self, entry: Entry, decision: Decision, now: Now) -> list[Action]:
        placement, actions = entry.placement, list[Action]()
        if placement.changes != decision.changes and decision.changes:
            actions.append(tell(Happening.PLANNED, placement, decision.changes, now))
        placement.changes = decision.changes
        actions += self._refuse(entry, decision.refusals, ())
        placement.state = State.PLANNED if decision.changes else state_of(decision.refusals, did=False)
        return actions

    def _rule(self, entry: Entry, process: Process, decision: Decision, now: Now, at_ns: int) -> list[Action]:
        """Write what is at once, order what may wait, give back what the rule does not speak of."""
        placement = entry.placement
        placement.changes = ()
        held = self.table.held(process.pid, process.start_ticks)
        back = self._unsaid(held, decision) if held is not None else []
        actions: list[Action] = [GiveBack(row) for row in back if isinstance(row, AdjRow)]
        steps: list[Step] = [Return(row) for row in back if isinstance(row, MoveRow)]
        origin = self.rules.origin_of(decision.rule or "")
        terms = Terms(decision.rule or "", decision.restore_on_remove, origin)
        for change in decision.changes:
            if isinstance(change, AdjChange):
                actions.append(self._write(process, decision, change, now, at_ns))
            elif isinstance(change, MoveChange):
                steps.append(Move(change, terms, held.moves.get(change.hierarchy) if held is not None else None))
            else:
                steps.append(Set(change, terms))
        actions += self._rerule(process, decision, back, origin)
        again = {change.field for change in decision.changes}
        actions += self._refuse(entry, decision.refusals, (old for old in entry.met if old.field in again))
        if entry.order:
            entry.again = entry.again or bool(steps)
        elif steps:
            drifted = any(isinstance(step, Move) and _stood(step) for step in steps)
            actions.append(self._order(entry, steps, now, drifted=drifted, at_ns=at_ns))
        placement.state = State.MOVING if entry.order else state_of(placement.refusals, did=self._holds(placement))
        return actions

    def _unsaid(self, held: Rows, decision: Decision) -> list[AdjRow | MoveRow]:
        """What the rule does not speak of and we once wrote, or would have by a claim."""
        claimed = {refusal.field for refusal in decision.refusals if refusal.reason is Reason.CLAIM}
        rows: list[AdjRow | MoveRow] = [held.adj] if held.adj is not None and not decision.adjusts else []
        if not decision.moves:
            rows += held.moves.values()
        return [row for row in rows if _field_of(row) in claimed or not self.force.stands(row)]

    def _write(self, process: Process, decision: Decision, change: AdjChange, now: Now, at_ns: int) -> Write:
        adj = self.table.adj(process.pid, process.start_ticks)
        drifted = adj is not None and (adj.written, adj.rule) == (change.after, decision.rule)
        origin = self.rules.origin_of(decision.rule or "")
        row = wanting_adj(process, decision, adj, change.after, now.ticks, origin)
        return Write(row, change, drifted, at_ns)

    def _holds(self, placement: Placement) -> bool:
        held = self.table.held(placement.pid, placement.start_ticks)
        return held is not None and any(row.written is not None for row in held.values)

    def _rerule(
        self, process: Process, decision: Decision, back: Collection[AdjRow | MoveRow], origin: str
    ) -> list[Action]:
        """What stands, stands under this rule now. Who inherited it goes on being an heir: it may leave the rule."""
        held = self.table.held(process.pid, process.start_ticks)
        if held is None or decision.rule is None:
            return []
        writes = {change.field for change in decision.changes}
        rows: list[AdjRow | MoveRow] = []
        adj = held.adj
        if adj is not None and adj not in back and decision.adjusts and Field.OOM_SCORE_ADJ not in writes:
            under = replace(
                adj,
                rule=decision.rule,
                as_child=decision.as_child,
                give_back=decision.restore_on_remove,
                origin=origin,
            )
            if under != adj:
                rows.append(under)
        if decision.moves and decision.rule != BY_HAND and not self._is_moving(process.pid):
            for row in held.moves.values():
                moved = replace(row, rule=decision.rule, give_back=decision.restore_on_remove, origin=origin)
                if moved != row:
                    rows.append(moved)
        return self._record(*rows)

    def _is_moving(self, pid: int) -> bool:
        entry = self.entries.get(pid)
        return entry is not None and bool(entry.order)

    def _order(self, entry: Entry, steps: Iterable[Step], now: Now, *, drifted: bool = False, at_ns: int = 0) -> Order:
        self._orders += 1
        entry.order, entry.again = self._orders, False
        placement = entry.placement
        return Order(self._orders, placement.pid, placement.start_ticks, tuple(steps), now.ticks, drifted, at_ns)

    def _refuse(self, entry: Entry, planned: Iterable[Refusal], met: Iterable[Refusal]) -> list[Action]:
        """Say what is new for this process."""
        entry.planned, entry.met = tuple(planned), tuple(met)
        placement = entry.placement
        refusals = (*entry.planned, *(one for one in entry.met if one not in entry.planned))
        news = tuple(refusal for refusal in refusals if refusal not in placement.refusals)
        placement.refusals = refusals
        return [Refused(placement.rule, placement.pid, placement.comm, news)] if news else []

    def _refollow(self, pid: int, rule: str) -> list[Action]:
        if not self.rules.may_hold_children_of(rule):
            return self._unfollow(pid)
        if pid in self.followed:
            return []
        self.followed.add(pid)
        return [Follow()]

    def _unfollow(self, pid: int) -> list[Action]:
        if pid not in self.followed:
            return []
        self.followed.discard(pid)
        return [Follow()]

    # -- under no rule -----------------------------------------------------------------------------------------------

    def _unruled(self, process: Process, entry: Entry | None, now: Now) -> list[Action]:
        """What it inherited stays as long as the rule it came by; the rest is given back."""
        held = self.table.held(process.pid, process.start_ticks)
        rows = held.values if held is not None else []
        standing = [row for row in rows if self.force.stands(row)]
        chosen = [row for row in standing if _is_chosen(row, process)]  # another program's, or its own
        back = [row for row in rows if row not in standing]
        follow = self._unfollow(process.pid)
        if entry is not None and entry.order:
            entry.again = True
        if not rows:
            return follow + (self._release(entry, now) if entry is not None else [])
        if entry is None:
            rule = (back or standing)[0].rule
            entry = Entry(Placement(process.pid, process.start_ticks, process.comm, rule, since_ns=now.unix_ns))
        placement = entry.placement
        self._look_of(placement, process)
        actions: list[Action] = [*follow, *self._give_back(entry, back, now)]
        if chosen:
            actions.append(Forget(tuple(chosen)))
        placement.changes, placement.refusals, placement.expires_ns = (), (), 0
        if back or entry.order:
            placement.state = State.RETURNING
        else:
            placement.state = State.INHERITED
            placement.rule = standing[0].rule
        self.entries[process.pid] = entry
        return actions

    def _give_back(self, entry: Entry, back: Collection[AdjRow | MoveRow], now: Now) -> list[Action]:
        forced = self._is_forced(entry.placement)
        keep = [row for row in back if not (row.give_back or forced or row.rule in self.suspended)]
        actions: list[Action] = []
        if keep:
            entry.detail = KEPT if len(keep) == len(back) else ""
            actions.append(Forget(tuple(keep)))
        steps: list[Step] = []
        for row in back:
            if row in keep:
                continue
            if isinstance(row, AdjRow):
                actions.append(GiveBack(row))
            else:
                steps.append(Return(row))
        if steps and not entry.order:
            actions.append(self._order(entry, steps, now))
        elif len(keep) == len(back) and back:
            actions.append(Look(entry.placement.pid))
        return actions

    def _is_forced(self, placement: Placement) -> bool:
        return (placement.pid, placement.start_ticks) in self.force.let_go or placement.rule in self.suspended

    def _release(self, entry: Entry, now: Now) -> list[Action]:
        """Nothing of ours is left in it."""
        if entry.order:
            return []
        placement = entry.placement
        self.entries.pop(placement.pid, None)
        detail = entry.detail or ("restored" if self._is_forced(placement) else "")
        return [tell(Happening.RELEASED, placement, (), now, detail)]

    # -- done --------------------------------------------------------------------------------------------------------

    def settle(self, result: Result, now: Now) -> list[Action]:
        """What follows from what came of an action."""
        if isinstance(result, Cleared):
            return self._clearance.cleared(result)
        if isinstance(result, Wrote):
            return self._wrote(result, now)
        return self._carried(result, now)

    def _wrote(self, result: Wrote, now: Now) -> list[Action]:
        action = result.action
        row = action.row
        if result.how is How.GONE:
            return self.gone(row.pid, row.start_ticks)
        entry = self.entries.get(row.pid)
        if entry is not None and entry.placement.start_ticks != row.start_ticks:
            entry = None
        if isinstance(action, GiveBack):
            return self._gave_back(row, result, entry)
        if result.how is How.LEFT:  # another program wrote between the look and the write: what it chose is looked at
            return [Look(row.pid)]
        if entry is None:
            return []
        return self._written(action, result, entry, now)

    def _written(self, action: Write, result: Wrote, entry: Entry, now: Now) -> list[Action]:
        placement, row, actions = entry.placement, action.row, list[Action]()
        met = [old for old in entry.met if old.field is not Field.OOM_SCORE_ADJ]
        if result.refusal is None:
            self.table.put(row.settled())
            placement.adj_before, placement.oom_score_adj = row.before, action.change.after
            happening = Happening.DRIFTED if action.drifted else Happening.HELD
            actions.append(tell(happening, placement, (action.change,), now))
        else:
            if self.table.get(row) == row:  # so it is in the journal, and the kernel refused it
                actions += self._after_row(row, done=False)
            if result.refusal not in placement.refusals:
                actions.append(tell(Happening.FAILED, placement, (action.change,), now, result.refusal.detail))
            met.append(result.refusal)
        actions += self._refuse(entry, entry.planned, met)
        if not entry.order:
            did = result.refusal is None or row.written is not None or self._moved(placement)
            placement.state = state_of(placement.refusals, did=did)
        return actions

    def _moved(self, placement: Placement) -> bool:
        held = self.table.held(placement.pid, placement.start_ticks)
        return held is not None and bool(held.moves)

    def _gave_back(self, row: AdjRow, result: Wrote, entry: Entry | None) -> list[Action]:
        if result.refusal is not None:
            return self._is_stuck(entry, row, "oom_score_adj", result.refusal.detail)
        if entry is not None:
            entry.placement.adj_before = None
        return [Heirs(row.pid), Forget((row,)), Look(row.pid)]

    def _is_stuck(self, entry: Entry | None, row: AdjRow | MoveRow, what: str, detail: str) -> list[Action]:
        if entry is None or what in entry.stuck:
            return []
        entry.stuck = (*entry.stuck, what)
        return [Stuck(f"{what} of process {row.pid}", row.rule, detail)]

    def _carried(self, result: Carried, now: Now) -> list[Action]:
        order = result.order
        entry = self.entries.get(order.pid)
        if entry is not None and (entry.placement.start_ticks != order.start_ticks or entry.order != order.number):
            entry = None
        if entry is not None:
            entry.order = 0
        if result.gone:
            return self.gone(order.pid, order.start_ticks)
        returned = [came for came in result.came if isinstance(came.step, Return)]
        actions: list[Action] = [Heirs(order.pid)] if returned else []
        for came in returned:
            actions += self._returned(came, entry)
        for came in result.came:
            # the very row: what was refused here may have been done for another process since, by a row that is equal
            if came.row is not None and self.table.get(came.row) is came.row:
                actions += self._after_row(came.row, done=came.how is How.DONE)
        if entry is None:
            return actions
        actions += self._did(entry, result, now)
        if entry.again or any(came.how is not How.REFUSED for came in returned):
            entry.again = False
            actions.append(Look(order.pid))
        return actions

    def _returned(self, came: Came, entry: Entry | None) -> list[Action]:
        assert isinstance(came.step, Return)
        row = came.step.row
        if came.how is How.REFUSED and came.refusal is not None:
            return self._is_stuck(entry, row, f"the cgroup ({row.hierarchy or 'unified'})", came.refusal.detail)
        return [Forget((row,))]

    def _after_row(self, row: AdjRow | MoveRow | FileRow, *, done: bool) -> list[Action]:
        """A row once what it wanted was done, or refused."""
        after = row.settled() if done else row.refused()
        if after is None:
            return [Forget((row,))]
        self.table.put(after)
        if done and isinstance(row, MoveRow):
            group = self.table.groups.get((row.hierarchy, row.wanted or ""))
            if group is not None and not group.base:
                group = replace(group, base=row.before)
                self.table.put(group)
                return [Commit((group,))]
        return []

    def _did(self, entry: Entry, result: Carried, now: Now) -> list[Action]:
        order, placement, actions = result.order, entry.placement, list[Action]()
        ours = [came for came in result.came if not isinstance(came.step, Return)]
        done = [came.step.change for came in ours if came.how is How.DONE and not isinstance(came.step, Return)]
        refused = [came.refusal for came in ours if came.refusal is not None]
        moves = [change for change in done if isinstance(change, MoveChange)]
        if moves:
            placement.group = moves[0].after
        if done:
            drifted = order.drifted and bool(moves)
            actions.append(tell(Happening.DRIFTED if drifted else Happening.HELD, placement, tuple(done), now))
        news = [refusal for refusal in refused if refusal not in placement.refusals]
        if news:
            detail = "; ".join(refusal.detail for refusal in news)
            actions.append(tell(Happening.FAILED, placement, (), now, detail))
        asked = {step.change.field for step in order.steps if not isinstance(step, Return)}
        stay = [old for old in entry.met if old.field not in asked]
        actions += self._refuse(entry, entry.planned, (*stay, *refused))
        if placement.state is State.MOVING:
            placement.state = state_of(placement.refusals, did=bool(done) or self._holds(placement))
        return actions


def _field_of(row: AdjRow | MoveRow) -> Field:
    return Field.OOM_SCORE_ADJ if isinstance(row, AdjRow) else Field.CGROUP


def _given_by(row: Row, pid: int | None) -> bool:
    return isinstance(row, AdjRow | MoveRow) and row.heir_of is not None and row.heir_of[0] == pid


def _is_chosen(row: AdjRow | MoveRow, process: Process) -> bool:
    if isinstance(row, AdjRow):
        return not row.is_ours(process.oom_score_adj)
    return bool(process.cgroups) and not row.is_ours(process.cgroups.get(row.hierarchy, ""))


def _stood(step: Move) -> bool:
    """Whether a move is one that we made before, under the same rule: another program moved the process away."""
    row = step.row
    return row is not None and row.rule == step.terms.rule and row.written == step.change.after
