"""Writes files of groups, and makes and removes groups; each change is journaled first."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from holdfast.cgroups import UNIFIED, Hierarchy, Tree, levels, parent
from holdfast.errors import HoldfastError, KernelRefused
from holdfast.node.apply.action import Came, How, Set, Terms
from holdfast.node.apply.refusal import refusal_of
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import FileRow, GroupRow
from holdfast.node.model.decision import Field
from holdfast.node.plan.setting import is_in_force
from holdfast.node.proc.parse import parse_status
from holdfast.node.rule.setting import controller_of
from holdfast.process import ProcRoot

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
                if is_in_force(change.file, change.after, now):
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
        old = self._journal.table.files.get((change.hierarchy, change.group, change.file))
        ours = old is not None and is_ours(old, now)
        return FileRow(
            change.hierarchy,
            change.group,
            change.file,
            before=old.before if old is not None and ours else now,
            rule=terms.rule,
            written=now if ours else None,
            wanted=change.after,
            give_back=terms.give_back,
            origin=terms.origin,
        )

    def _as_it_is(self, row: FileRow | None) -> FileRow | None:
        """Return the row of a file after a refusal.

        The kernel may have taken the first of several lines: then the present text is ours.
        """
        if row is None or self._journal.table.get(row) != row:
            return None
        try:
            now = self._hierarchy.tree(row.hierarchy).read(row.path, row.file)
        except HoldfastError:
            return row
        if now == row.before or (row.written is not None and is_in_force(row.file, row.written, now)):
            return row
        partly = replace(row, written=now)
        self._journal.commit((partly,))
        return partly

    def _write_lines(self, hierarchy: str, path: str, file: str, text: str) -> None:
        tree = self._hierarchy.tree(hierarchy)
        for line in text.split("\n"):
            tree.write(path, file, line)

    def make(self, hierarchy: str, path: str, terms: Terms, controllers: Iterable[str] = ()) -> None:
        """Make a group and the missing ones above it; a group that is ours to remove is journaled before it exists."""
        tree = self._hierarchy.tree(hierarchy)
        if not tree.exists(path):
            at, missing = path, []
            while at != "/" and not tree.exists(at):
                missing.append(GroupRow(hierarchy, at, terms.rule, terms.give_back, terms.origin))
                at = at.rsplit("/", 1)[0] or "/"
            known = self._journal.table
            self._journal.commit(row for row in missing if known.get(row) is None)
        tree.create(path, [name for name in controllers if name] if hierarchy == UNIFIED else ())

    def says(self, row: FileRow) -> bool:
        """Whether a group's file has the text of the row."""
        try:
            return is_ours(row, self._hierarchy.tree(row.hierarchy).read(row.path, row.file))
        except HoldfastError:  # the group is gone, or has no such file
            return False

    def unset(self, row: FileRow) -> How:
        """Restore a file if its text is ours.

        Raises:
            HoldfastError: the file cannot be read, or the kernel refuses the text.
        """
        tree = self._hierarchy.tree(row.hierarchy)
        if not tree.exists(row.path):
            return How.GONE
        if not is_ours(row, tree.read(row.path, row.file)):
            return How.LEFT
        self._write_lines(row.hierarchy, row.path, row.file, row.before)
        return How.DONE

    def remove(self, row: GroupRow) -> How:
        """Remove a group once it is empty; processes that were born in it go to the group that it was made in.

        Raises:
            HoldfastError: the kernel refuses to move them, or to remove the group.
        """
        tree = self._hierarchy.tree(row.hierarchy)
        if tree.remove(row.path):
            return How.DONE
        for pid in tree.members(row.path):
            held = self._journal.table.processes.get(pid)
            if row.base and (held is None or row.hierarchy not in held.moves):  # born there, and its parent is gone
                self._bring_home(row, pid)
        return How.DONE if tree.remove(row.path) else How.LEFT

    def _bring_home(self, row: GroupRow, pid: int) -> None:
        """Move a process to the group that a group of ours was made from, or the nearest one above.

        That group was another process's, maybe another user's: the owner of a group, or of one above it, may freeze and
        kill who is in it.
        """
        tree, owners = self._hierarchy.tree(row.hierarchy), (0, self._user_of(pid))
        if tree.exists(row.base) and _belongs_to(owners, tree, row.base):
            tree.join(row.base, pid)
        else:
            self.join_above(row.hierarchy, row.base, pid, owners=owners)

    def _user_of(self, pid: int) -> int:
        with self._proc.open(pid) as process:
            return parse_status(process.read("status"))[0][0]

    def join_above(
        self,
        hierarchy: str,
        gone: str,
        pid: int,
        still: Callable[[], bool] | None = None,
        owners: Collection[int] = (),
    ) -> bool:
        """Join the nearest group above one that is gone, as `Tree.join` does; with ``owners``, one of theirs.

        Raises:
            KernelRefused: no remaining group takes the process, which stays where it is. The root is never used: it
                would free the process of every limit.
        """
        tree, above = self._hierarchy.tree(hierarchy), parent(gone)
        while above != "/":
            try:
                if not owners or _belongs_to(owners, tree, above):
                    return tree.join(above, pid, still)
            except KernelRefused:  # it is gone, too, or takes no processes itself
                pass
            above = parent(above)
        remedy = "its group is gone, and none above takes processes: it stays where it is until it is restarted"
        raise KernelRefused("restore", tree.at(gone), errno.ENOENT, remedy)


def _belongs_to(owners: Collection[int], tree: Tree, path: str) -> bool:
    return all(tree.owner(level) in owners for level in levels(path))


def is_ours(row: FileRow, now: str) -> bool:
    """Whether the text of a file is one that we wrote, or may have written, in the kernel's spelling."""
    return any(is_in_force(row.file, value, now) for value in (row.written, row.wanted) if value is not None)
