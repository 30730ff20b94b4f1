"""Writes files of groups, and makes and removes groups; each change is journaled first."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection, Container, Iterable

from msgspec.structs import replace

from holdfast.cgroups import UNIFIED, Hierarchy, Need, Tree, levels, parent
from holdfast.errors import HoldfastError, KernelRefused, ProcessGone
from holdfast.node.apply.action import Came, How, Set, Terms
from holdfast.node.apply.file_text import after_refusal, has, our_parts, wanting_row
from holdfast.node.apply.refusal import refusal_of
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import FileRow, GroupRow
from holdfast.node.model.decision import Field
from holdfast.node.plan.setting import restoring
from holdfast.node.proc.parse import parse_status
from holdfast.node.rule.setting import controller_of
from holdfast.process import ProcRoot

_DEVICE_GONE = (errno.ENODEV,)  # of a line about a device
#: An empty set means that of the group above. While processes are in the group the kernel refuses to write it
#: (kernel/cgroup/cpuset.c, ``validate_change``), so the set of the group above is written.
_SETS = ("cpuset.cpus", "cpuset.mems")
READS = 3  # of a file, each after a commit, if another program changes it at the same moment


class GroupWriter:
    """Writer of files of groups, and of groups. `Executor` lets one thread at a time use it."""

    def __init__(self, proc: ProcRoot, hierarchy: Hierarchy, journal: Journal) -> None:
        self._proc, self._hierarchy, self._journal = proc, hierarchy, journal

    def write(self, step: Set) -> Came:
        """Write a file of a group so that the change is in force; make the group if the change requires it."""
        change, row = step.change, None
        try:
            tree = self._hierarchy.tree(change.hierarchy)
            if change.create:
                self.make(change.hierarchy, change.group, step.terms, (controller_of(change.file),))
            now = tree.read(change.group, change.file)
            for _ in range(READS):
                if has(change.file, change.after, now):
                    return Came(step, How.ALREADY, row)
                row = self._wanting_file(step, now)
                self._journal.commit((row,))
                seen, now = now, tree.read(change.group, change.file)
                if now == seen:  # it may have changed during the commit
                    break
            self._write_lines(change.hierarchy, change.group, change.file, change.after)
        except HoldfastError as error:
            return Came(step, How.REFUSED, self._as_it_is(row), refusal_of(error, Field.SETTING))
        return Came(step, How.DONE, row)

    def _wanting_file(self, step: Set, now: str) -> FileRow:
        """Return the row for a write over the present text of a file."""
        change, terms = step.change, step.terms
        inode = self._hierarchy.tree(change.hierarchy).inode(change.group)
        row = FileRow(
            change.hierarchy,
            change.group,
            change.file,
            before=now,
            rule=terms.rule,
            wanted=change.after,
            give_back=terms.give_back,
            origin=terms.origin,
            inode=inode,
        )
        old = self._journal.table.files.get((change.hierarchy, change.group, change.file))
        return wanting_row(row, old if old is not None and old.inode in (0, inode) else None, now)

    def _as_it_is(self, row: FileRow | None) -> FileRow | None:
        """Return the row of a file after a refusal."""
        if row is None or self._journal.table.get(row) != row:
            return None
        try:
            now = self._hierarchy.tree(row.hierarchy).read(row.path, row.file)
        except HoldfastError:
            return row
        partly = after_refusal(row, now)
        if partly != row:
            self._journal.commit((partly,))
        return partly

    def _write_lines(self, hierarchy: str, path: str, file: str, text: str, *, gone: Container[int] = ()) -> None:
        """Write a text line by line; a line refused with an errno of ``gone`` is about a device that is gone."""
        tree = self._hierarchy.tree(hierarchy)
        for line in text.split("\n"):
            try:
                tree.write(path, file, line)
            except KernelRefused as error:
                if error.errno not in gone:
                    raise

    def make(self, hierarchy: str, path: str, terms: Terms, controllers: Iterable[str] = ()) -> None:
        """Make a group and the missing ones above it; a group that is ours to remove is journaled before it exists."""
        tree = self._hierarchy.tree(hierarchy)
        enabled = [name for name in controllers if name] if hierarchy == UNIFIED else []
        needs = tree.needs(path, enabled)
        missing: list[GroupRow] = []
        at = path
        while at != "/" and not tree.inode(at):
            missing.append(GroupRow(hierarchy, at, terms.rule, terms.give_back, terms.origin))
            at = parent(at)
        missing.reverse()
        if not missing:
            self._note_needs(hierarchy, path, needs)
            tree.create(path, enabled)
            return
        missing[0] = replace(missing[0], needs=needs)
        self._journal.commit(missing)
        for row in list(missing):
            try:
                made = tree.create(row.path, enabled)
            except HoldfastError:
                self._journal.forget(missing)  # those not made yet; another program may make them
                raise
            missing.remove(row)
            if made:
                self._settle_made((row,))
            else:
                self._journal.forget((row,))  # another program was quicker

    def _note_needs(self, hierarchy: str, path: str, needs: Iterable[tuple[str, str, str]]) -> None:
        """Note what a group of ours needs since it was made; another program's group may need it itself."""
        ours = [row for row in self._journal.table.made() if row.hierarchy == hierarchy and _is_in(path, row.path)]
        new = [need for need in needs if ours and not _is_in(need[0], ours[-1].path)]
        if new:
            self._journal.commit((replace(ours[-1], needs=(*ours[-1].needs, *new)),))

    def _withdraw_needs(self, row: GroupRow) -> None:
        """Undo what a group that is gone needed, or leave that to another group of ours that needs it as well."""
        now = self._journal.table.groups.get((row.hierarchy, row.path), row)
        for need in now.needs if now.inode == row.inode else row.needs:
            others = [
                other
                for other in self._journal.table.made()
                if (other.hierarchy, other.path) != (row.hierarchy, row.path)
                and other.hierarchy == row.hierarchy
                and _is_in(other.path, need[0])
            ]
            if others:
                self._journal.amend(others[-1], replace(others[-1], needs=(*others[-1].needs, need)))
                continue
            with contextlib.suppress(HoldfastError):  # it is in use, or its group is gone
                self._hierarchy.tree(row.hierarchy).withdraw(Need(*need))

    def check_groups(self) -> None:
        """Forget groups of ours that another program removed: a later one of that name is not ours."""
        others: list[GroupRow] = []
        made: list[GroupRow] = []  # ours, but not known to be there until now
        for row in self._journal.table.made():
            with contextlib.suppress(HoldfastError):  # its hierarchy is not mounted now, or it cannot be opened
                if not self._is_there(row) or (not row.inode and self._is_used_by_others(row, others)):
                    others.append(row)
                elif not row.inode:
                    made.append(row)
        self._journal.forget(others)  # after all were read: another program may make one at any moment
        self._settle_made(made)
        for row in others:
            self._withdraw_needs(row)

    def _is_used_by_others(self, row: GroupRow, others: Iterable[GroupRow]) -> bool:
        """Whether a group that we may have made before a crash has only processes or groups of other programs in it.

        No call of the kernel makes a group and returns its inode. So an empty one counts as ours, although another
        program may have made it since.
        """
        tree, table = self._hierarchy.tree(row.hierarchy), self._journal.table
        members = tree.members(row.path)
        if any((held := table.processes.get(pid)) and row.hierarchy in held.moves for pid in members):
            return False
        ours = table.groups.keys() - {(other.hierarchy, other.path) for other in others}
        return bool(members) or any((row.hierarchy, child) not in ours for child in tree.children(row.path))

    def _settle_made(self, rows: Iterable[GroupRow]) -> None:
        """Note the inodes of groups that were made, and forget those that were not: another program may make them."""
        for row in rows:
            with contextlib.suppress(KernelRefused):  # the next check finds it
                inode = self._hierarchy.tree(row.hierarchy).inode(row.path)
                if inode:
                    self._journal.amend(row, replace(row, inode=inode))
                else:
                    self._journal.forget((row,))

    def _is_there(self, row: GroupRow | FileRow) -> bool:
        """Whether the group of a row is still there, and is no later one of that name."""
        inode = self._hierarchy.tree(row.hierarchy).inode(row.path)
        return inode != 0 and row.inode in (0, inode)

    def find(self, row: FileRow) -> FileRow | None:
        """Return the row of a file that has the text of ``row``, with its group's inode; None: it has another text."""
        try:
            tree = self._hierarchy.tree(row.hierarchy)
            inode, now = tree.inode(row.path), tree.read(row.path, row.file)  # a group made after that is not this one
        except HoldfastError:  # the group is gone, or has no such file
            return None
        return replace(row, inode=inode) if row.written is not None and has(row.file, row.written, now) else None

    def unset(self, row: FileRow, parts: Collection[str] | None = None) -> How:
        """Restore a file, or only these parts of it, as far as its text is ours.

        Raises:
            HoldfastError: the file cannot be read, or the kernel refuses the text.
        """
        tree = self._hierarchy.tree(row.hierarchy)
        if not self._is_there(row):
            return How.GONE
        ours = [about for about in our_parts(row, tree.read(row.path, row.file)) if parts is None or about in parts]
        if not ours:
            return How.LEFT
        text = restoring(row.file, row.before, ours)
        try:
            self._write_lines(row.hierarchy, row.path, row.file, text, gone=_DEVICE_GONE)
        except KernelRefused as error:
            if text or error.errno != errno.ENOSPC or row.file not in _SETS:
                raise
            above = tree.read(parent(row.path), f"{row.file}.effective")
            self._write_lines(row.hierarchy, row.path, row.file, above)
        return How.DONE

    def remove(self, row: GroupRow) -> How:
        """Remove a group once it is empty; processes that were born in it go to the group that it was made in.

        Raises:
            HoldfastError: the kernel refuses to move them, or to remove the group.
        """
        tree = self._hierarchy.tree(row.hierarchy)
        if not self._is_there(row):
            self._withdraw_needs(row)
            return How.GONE
        if self._is_removed(row, tree):
            return How.DONE
        for pid in tree.members(row.path):
            held = self._journal.table.processes.get(pid)
            if row.base and (held is None or row.hierarchy not in held.moves):  # born there, and its parent is gone
                with contextlib.suppress(ProcessGone):
                    self._join_base(row, pid)
        return How.DONE if self._is_removed(row, tree) else How.LEFT

    def _is_removed(self, row: GroupRow, tree: Tree) -> bool:
        """Remove a group with what it needed; False: something is in it."""
        if not tree.remove(row.path):
            return False
        self._withdraw_needs(row)
        return True

    def _join_base(self, row: GroupRow, pid: int) -> None:
        """Move a member of a group to the base of the group, or the nearest one above.

        It stays if it was moved, or has ended, meanwhile. The base was another process's group, maybe another user's:
        the owner of a group, or of one above it, may freeze and kill its members.
        """
        tree, owners = self._hierarchy.tree(row.hierarchy), (0, self._user_of(pid))

        def is_member() -> bool:
            return pid in tree.members(row.path)

        is_base_trusted = bool(tree.inode(row.base)) and _belongs_to(owners, tree, row.base)
        if not is_base_trusted or self.join(row.hierarchy, row.base, pid, is_member) is None:
            self.join_above(row.hierarchy, row.base, pid, is_member, owners)

    def _user_of(self, pid: int) -> int:
        with self._proc.open(pid) as process:
            return parse_status(process.read("status"))[0][0]

    def join(self, hierarchy: str, path: str, pid: int, still: Callable[[], bool]) -> bool | None:
        """Join a group as `Tree.join` does; None: it is gone, or in a threaded subtree, where it takes none."""
        tree = self._hierarchy.tree(hierarchy)
        if not tree.inode(path):
            return None
        try:
            return tree.join(path, pid, still)
        except KernelRefused as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return None

    def join_above(
        self,
        hierarchy: str,
        former: str,
        pid: int,
        still: Callable[[], bool],
        owners: Collection[int] = (),
    ) -> bool:
        """Join the nearest group above one that does not take a process; with ``owners``, one of theirs.

        Raises:
            KernelRefused: no remaining group takes the process, which stays where it is. The root is never used: it
                would free the process of every limit.
        """
        tree, above = self._hierarchy.tree(hierarchy), parent(former)
        while above != "/":
            try:
                if not owners or _belongs_to(owners, tree, above):
                    return tree.join(above, pid, still)
            except KernelRefused:  # it is gone, too, or takes no processes itself
                pass
            above = parent(above)
        state = "is in a threaded subtree now" if tree.inode(former) else "is gone"
        remedy = f"its group {state}, and none above takes processes: it stays where it is until it is restarted"
        raise KernelRefused("restore", tree.at(former), errno.ENOENT, remedy)


def _is_in(path: str, group: str) -> bool:
    return path == group or path.startswith(f"{group}/")


def _belongs_to(owners: Collection[int], tree: Tree, path: str) -> bool:
    return all(tree.owner(level) in owners for level in levels(path))
