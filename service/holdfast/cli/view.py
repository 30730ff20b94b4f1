"""The screen of ``holdfast top`` with keys: which list it shows, in which order, from which row. No I/O.

A frame has as many lines as the terminal: two of state, the tabs, the head of the list, its rows, and the keys. Without
keys, in a pipe, all lists are printed below each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from holdfast.cli.ps import PROCESSES
from holdfast.cli.rules import RULES
from holdfast.cli.table import NONE, Column, Table, in_cells
from holdfast.inert import inert
from holdfast.wording import change_lines, feed_of, next_in_line, pod_name, rescan_of, size

if TYPE_CHECKING:
    from collections import deque

    from holdfast.api.placement.v1 import placement_pb2 as pb

KEYS = "q quit  1-5 tab list  s sort  r reverse  / filter  p pause  ↑ ↓ PgUp PgDn scroll"
ABOVE, HEAD_AT = 3, 3  # lines above the list; the index of its head
GAP = 2


class Seen(Struct):
    """Result of the last query, and the latest reports."""

    status: pb.StatusResponse
    rules: pb.ListRulesResponse
    victims: pb.VictimsResponse
    placements: pb.ListPlacementsResponse
    reports: deque[pb.Report] | tuple[pb.Report, ...] = ()


class PodRow(Struct, frozen=True):
    """One pod under one rule, and how many of its processes are in which state."""

    pod: str
    rule: str
    counts: Counter[str]

    @property
    def held(self) -> int:
        """Processes that have the rule's values, or are about to."""
        return self.counts["held"] + self.counts["moving"]

    @property
    def planned(self) -> int:
        """Processes of a dry run."""
        return self.counts["planned"]

    @property
    def refused(self) -> int:
        """Processes for which something is refused."""
        return self.counts["refused"] + self.counts["partly"]


class DomainRow(Struct, frozen=True):
    """One memory domain and its next victims."""

    ranking: pb.Ranking
    page_bytes: int


class Tab(Struct, frozen=True):
    """One list of the screen."""

    name: str
    columns: tuple[Column[Any], ...]
    items: Callable[[Seen], Sequence[Any]]


def pods_of(seen: Seen) -> list[PodRow]:
    """The pods under rules, first those that are not as they should be."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for some in seen.placements.placements:
        if some.HasField("pod"):
            counts.setdefault((pod_name(some.pod), some.rule), Counter())[some.state] += 1
    rows = [PodRow(pod, rule, states) for (pod, rule), states in counts.items()]
    return sorted(rows, key=lambda row: (-row.refused, -row.planned, row.pod, row.rule))


def _count(title: str, number: Callable[[PodRow], int]) -> Column[PodRow]:
    return Column(title, lambda row: str(number(row)), key=number)


PODS: tuple[Column[PodRow], ...] = (
    Column("POD", lambda row: row.pod),
    Column("RULE", lambda row: row.rule),
    _count("HELD", lambda row: row.held),
    _count("PLANNED", lambda row: row.planned),
    _count("REFUSED", lambda row: row.refused),
)
DOMAINS: tuple[Column[DomainRow], ...] = (
    Column("WHERE", lambda row: "the node" if row.ranking.domain == "/" else row.ranking.domain, most=28),
    Column(
        "USED",
        lambda row: size(row.ranking.usage_pages, row.page_bytes) if row.ranking.usage_pages else NONE,
        key=lambda row: row.ranking.usage_pages,
    ),
    Column("LIMIT", lambda row: size(row.ranking.limit_pages, row.page_bytes), key=lambda row: row.ranking.limit_pages),
    Column("NEXT", lambda row: next_in_line(row.ranking.now)),
    Column("AFTER THE RULES", lambda row: next_in_line(row.ranking.after_rules)),
)
REPORTS: tuple[Column[pb.Report], ...] = (
    Column(
        "TIME (UTC)", lambda report: f"{report.at.ToDatetime():%H:%M:%S}", key=lambda report: report.at.ToNanoseconds()
    ),
    Column("EVENT", lambda report: report.happening),
    Column("PROCESS", lambda report: f"{report.comm} ({report.pid})" if report.pid else NONE),  # none: a pod's request
    Column("RULE", lambda report: report.rule),
    Column("POD", lambda report: pod_name(report.pod) if report.HasField("pod") else NONE, seldom=True),
    Column("DETAIL", lambda report: report.detail or ", ".join(change_lines(report.changes)) or NONE),
)
TABS = (
    Tab("processes", tuple(one for one in PROCESSES.columns if not one.wide), lambda seen: seen.placements.placements),
    Tab("pods", PODS, pods_of),
    Tab(
        "rules",
        tuple(one for one in RULES.columns if not one.wide),
        lambda seen: sorted(seen.rules.rules, key=lambda rule: not any(rule.processes.values())),  # else in their order
    ),
    Tab(
        "victims",
        DOMAINS,
        lambda seen: [DomainRow(ranking, seen.victims.page_bytes) for ranking in seen.victims.rankings],
    ),
    Tab("events", REPORTS, lambda seen: list(reversed(seen.reports))),
)


def above(seen: Seen) -> list[str]:
    """The state of the engine and of the node in two lines, inert."""
    status = seen.status
    mode = "dry run: nothing is written" if status.dry_run else "on"
    some = ((name.removesuffix("_some"), pct) for name, pct in sorted(status.pressure_pct.items()) if "some" in name)
    pressure = " · ".join(f"{name} {pct:.1f} %" for name, pct in some)
    victim = next_in_line(seen.victims.rankings[0].now) if seen.victims.rankings else "no process"
    return [
        inert(f"holdfast: {mode} · {feed_of(status)} · rescan {rescan_of(status)}"),
        inert(f"pressure (10 s): {pressure or 'this kernel reports none'} · next victim: {victim}"),
    ]


def printed(seen: Seen, lines: int | None) -> list[str]:
    """All lists below each other: about as many lines as a screen has; None: all, for a pipe."""
    parts = above(seen)
    for tab in TABS:
        items = list(tab.items(seen))
        if items:
            room = len(items) if lines is None else max(3, (lines - len(parts)) // 4)
            parts += [
                "",
                tab.name,
                *Table(tab.columns, wide=False, headers=True, first=items, gap=GAP).lines(items[:room]),
            ]
            parts += [f"… and {len(items) - room} more"] if len(items) > room else []
    return parts


class View(Struct):
    """The choices of the keys. ``sort``: the index of a column; None is the list's own order."""

    tab: int = 0
    sort: int | None = None
    downwards: bool = False
    offset: int = 0
    filter: str = ""
    is_typing: bool = False
    is_paused: bool = False
    _rows: int = 0  # of the list that was drawn last, and how many of them fitted
    _room: int = field(default=1)

    def press(self, key: str) -> bool:
        """Take a key; return whether the screen goes on."""
        if self.is_typing:
            self._type(key)
        elif key == "q":
            return False
        elif key in ("tab", "1", "2", "3", "4", "5"):
            chosen = (self.tab + 1) % len(TABS) if key == "tab" else int(key) - 1
            self.tab, self.sort, self.downwards, self.offset = chosen, None, False, 0
        elif key == "s":
            after = 0 if self.sort is None else self.sort + 1
            self.sort = after if after < len(TABS[self.tab].columns) else None
        elif key == "r":
            self.downwards = not self.downwards
        elif key == "p":
            self.is_paused = not self.is_paused
        elif key == "/":
            self.is_typing, self.filter, self.offset = True, "", 0
        elif key == "escape":
            self.filter, self.offset = "", 0
        else:
            self._scroll(key)
        return True

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self.is_typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter += key

    def _scroll(self, key: str) -> None:
        page = max(1, self._room - 1)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page}
        if key in steps:
            self.offset += steps[key]
        elif key in ("home", "end"):
            self.offset = self._rows if key == "end" else 0
        self._stay()

    def _stay(self) -> None:
        self.offset = max(0, min(self.offset, self._rows - self._room))

    def lines(self, seen: Seen, columns: int, lines: int) -> list[str]:
        """One frame of at most ``lines`` lines, each of at most ``columns`` cells, inert."""
        tab = TABS[self.tab]
        rows = self._rows_of(tab, seen)
        self._rows, self._room = len(rows) - 1, max(1, lines - ABOVE - 2)
        self._stay()
        shown = rows[1:][self.offset : self.offset + self._room]
        frame = [*above(seen), self._tabs(), rows[0], *shown]
        frame += [""] * (lines - 1 - len(frame)) + [self._below()]
        return [in_cells(line, columns) for line in frame[:lines]]

    def _rows_of(self, tab: Tab, seen: Seen) -> list[str]:
        """The head and the rows of a list that the filter lets through."""
        items = list(tab.items(seen))
        if self.sort is not None:
            items.sort(key=tab.columns[self.sort].order)
        if self.downwards:
            items.reverse()
        head, *rows = Table(tab.columns, wide=False, headers=True, first=items, gap=GAP).lines(items)
        wanted = inert(self.filter).lower()
        return [head, *(row for row in rows if wanted in row.lower())]

    def _tabs(self) -> str:
        names = (f"[{at} {tab.name}]" if at == self.tab + 1 else f" {at} {tab.name} " for at, tab in enumerate(TABS, 1))
        return "".join(names) + inert(" " + " ".join(self._words()))

    def _words(self) -> Iterator[str]:
        """The effect of the keys, in a few words."""
        if self.is_paused:
            yield "PAUSED"
        if self._rows > self._room:
            yield f"{self.offset + 1}-{self.offset + self._room}/{self._rows}"
        if self.sort is not None:
            yield f"by {TABS[self.tab].columns[self.sort].name}{'↓' if self.downwards else ''}"
        elif self.downwards:
            yield "reversed"
        if self.filter and not self.is_typing:
            yield f"with {self.filter!r}"

    def _below(self) -> str:
        return inert(f"filter: {self.filter}_   Enter keeps it, Esc ends it") if self.is_typing else KEYS
