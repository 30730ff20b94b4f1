"""The HTML of each page, from the API's messages. Every text goes through `text` or `row`, which make it inert and
escape it. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from msgspec import Struct

from holdfast.inert import inert
from holdfast.wording import (
    STATES,
    change_lines,
    domain_of,
    feed_of,
    mode_of,
    pod_name,
    pod_of,
    pod_of_kill,
    refusals_of,
    remark,
    rescan_of,
    size,
    verdict,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from holdfast.api.placement.v1 import placement_pb2 as pb

ROWS = 100  # processes on one page
MOST_DOMAINS, MOST_KILLS, MOST_REFUSALS = 20, 20, 20
_KINDS = {"#": ' class="n"', "=": ' class="s"'}
LONGEST = 4096  # characters of one text; a cgroup's path may have that many


class Facts(Struct, frozen=True):
    """Facts of the daemon itself. ``faults``: services that do not serve; ``failed``: plugins and why."""

    version: str
    serves: bool
    faults: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    config_hash: str = ""
    config_age_s: float = 0.0
    refused: str = ""
    is_last_good: bool = False
    needs_restart: tuple[str, ...] = ()


class Node(Struct, frozen=True):
    """Answers of the placement API."""

    status: pb.StatusResponse
    rules: pb.ListRulesResponse
    placements: pb.ListPlacementsResponse
    kills: pb.KillsResponse


def text(words: object) -> str:
    """A text in HTML: inert, escaped, and cut if it is very long."""
    whole = str(words)
    return escape(inert(whole[:LONGEST])) + "…" * (len(whole) > LONGEST)


def link(path: str, words: object, **query: object) -> str:
    """A link to another page of ours."""
    target = f"{path}?{urlencode(query, errors='replace')}" if query else path
    return f'<a href="{escape(target)}">{text(words)}</a>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already. A head with ``#`` in front is of numbers, with ``=`` of short words."""
    kinds = [_KINDS.get(head[0], "") for head in heads]
    head = "".join(
        f'<th scope="col"{kind}>{text(name.lstrip("#="))}</th>' for name, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def section(title: str, content: str) -> str:
    """A part of a page under a heading."""
    return f"<section><h2>{text(title)}</h2>{content}</section>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; values are HTML already."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{value}</dd>" for name, value in pairs) + "</dl>"


def age(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3 h``, ``12 days``."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def moment(at: Timestamp) -> str:
    """A time in UTC."""
    shown = f"{at.ToDatetime():%Y-%m-%d %H:%M:%S}"
    return f'<time datetime="{shown.replace(" ", "T")}Z">{shown}</time>'


def overview(about: Facts, node: Node | None, victims: pb.VictimsResponse | None, missing: Sequence[str]) -> str:
    """The first page. ``missing``: why a part of it is not there."""
    parts = [section("State", _state(about, node, missing))]
    parts.append(section("Next OOM victims", _victims(victims) if victims is not None else _absent("the ranking")))
    if node is not None:
        parts += [
            section("Rules", _rules(node.rules)),
            section("Last OOM kills", _kills(node.kills)),
            section("Refusals", _refusals(node.placements)),
        ]
    return "".join(parts)


def _absent(what: str) -> str:
    return f"<p>holdfast still reads {text(what)}; load the page again.</p>"


def _state(about: Facts, node: Node | None, missing: Sequence[str]) -> str:
    good = '<span class="good">serves</span>' if about.serves else '<span class="bad">does not serve</span>'
    pairs = [("Health", good), ("Version", text(about.version))]
    if node is not None:
        dry_run = (
            '<span class="warn">dry run: nothing is written</span>' if node.status.dry_run else "rules are enforced"
        )
        pairs += [
            ("Mode", dry_run),
            ("Events", text(feed_of(node.status))),
            ("Last rescan", text(rescan_of(node.status))),
        ]
        if node.status.moves_waiting:
            pairs.append(("Waiting moves", str(node.status.moves_waiting)))
        pressure = ", ".join(
            f"{name.replace('_', ' ')} {pct:.1f} %" for name, pct in sorted(node.status.pressure_pct.items())
        )
        pairs.append(("Pressure (10 s)", text(pressure or "this kernel reports none")))
    last_good = ' <span class="bad">(the last good one)</span>' if about.is_last_good else ""
    pairs.append(
        ("Configuration", f"<code>{text(about.config_hash)}</code>, in force for {age(about.config_age_s)}{last_good}")
    )
    if about.refused:
        pairs.append(("Refused files", f'<span class="bad">{text(about.refused)}</span>'))
    if about.needs_restart:
        pairs.append(("Waits for a restart", text(", ".join(about.needs_restart))))
    pairs += [(f"Plugin {name}", f'<span class="bad">{text(why)}</span>') for name, why in about.failed]
    if about.faults:
        pairs.append(("Not serving", text(", ".join(about.faults))))
    return facts([*pairs, *(("Missing", f'<span class="bad">{text(why)}</span>') for why in missing)])


def _victims(victims: pb.VictimsResponse) -> str:
    shown = []
    for ranking in victims.rankings[:MOST_DOMAINS]:
        name = "the node" if ranking.domain == "/" else ranking.domain
        used = f", {size(ranking.usage_pages, victims.page_bytes)} used" if ranking.usage_pages else ""
        caption = f"{name}: {size(ranking.limit_pages, victims.page_bytes)}{used}, {ranking.processes} processes"
        after = {one.pid: at for at, one in enumerate(ranking.after_rules.candidates, 1)}
        rows = [
            (
                str(at),
                link("/process", one.pid, pid=one.pid),
                text(one.comm),
                text(pod_of(one) or "-"),
                text(one.rule or "-"),
                str(one.oom_score_adj),
                size(one.memory_pages, victims.page_bytes),
                text(size(one.points, victims.page_bytes) if one.HasField("points") else f"never ({one.why})"),
                str(after.get(one.pid, "later")),
            )
            for at, one in enumerate(ranking.now.candidates, 1)
        ]
        heads = ("#No.", "#PID", "Name", "Pod", "Rule", "#oom_score_adj", "#Memory", "#Points", "#No. after the rules")
        words = facts(
            [
                ("Now", text(verdict(ranking.now, victims))),
                ("After the rules", text(verdict(ranking.after_rules, victims))),
            ]
        )
        shown.append(table(caption, heads, rows) + words)
    more = len(victims.rankings) - len(shown)
    return "".join(shown) + (
        f"<p>… and {more} more memory cgroups: <code>holdfast victims</code></p>" if more > 0 else ""
    )


def _rules(rules: pb.ListRulesResponse) -> str:
    rows = [
        (
            link("/processes", rule.name, rule=rule.name),
            text(mode_of(rule)),
            "built-in" if rule.builtin else "yours",
            *(str(rule.processes.get(state, 0)) for state in STATES),
            text(rule.reason),
        )
        for rule in rules.rules
    ]
    heads = ("Rule", "=Mode", "=From", *(f"#{state.capitalize()}" for state in STATES), "Reason")
    return table(f"{len(rows)} rules, in their order", heads, rows)


def _kills(kills: pb.KillsResponse) -> str:
    shown = kills.kills[:MOST_KILLS]
    if not shown:
        return "<p>No OOM kill since holdfast was installed.</p>"
    rows = [
        (
            moment(kill.at),
            str(kill.pid),
            text(kill.comm),
            size(kill.rss_pages, kills.page_bytes),
            str(kill.oom_score_adj),
            text(domain_of(kill)),
            text(kill.rule or "-"),
            text(pod_of_kill(kill) or "-"),
            _line_up(kill, kills.page_bytes),
        )
        for kill in shown
    ]
    heads = ("=When (UTC)", "#PID", "Name", "#Memory", "#oom_score_adj", "Ran out", "Rule", "Pod", "Candidates")
    return table(f"the last {len(rows)} kills, newest first", heads, rows)


def _line_up(kill: pb.Kill, page_bytes: int) -> str:
    if not kill.predicted:
        return "-"
    lines = (
        f"<li>{text(one.comm)} ({one.pid}), {size(one.points, page_bytes)}, oom_score_adj {one.oom_score_adj}"
        + (" <strong>killed</strong>" if one.pid == kill.pid else "")
        + "</li>"
        for one in kill.predicted
    )
    name = f"kill-{kill.pid}-{kill.at.ToNanoseconds()}"
    return (
        f'<details id="{name}"><summary>{len(kill.predicted)} candidates</summary><ol>{"".join(lines)}</ol></details>'
    )


def _refusals(placements: pb.ListPlacementsResponse) -> str:
    groups = refusals_of(placements.placements)
    if not groups:
        return "<p>Nothing is refused.</p>"
    rows = [(str(number), text(reason), text(detail)) for number, reason, detail in groups[:MOST_REFUSALS]]
    more = f"<p>… and {len(groups) - len(rows)} more reasons.</p>" if len(groups) > len(rows) else ""
    return table("reasons, the most frequent first", ("#Processes", "Reason", "Explanation and remedy"), rows) + more


def processes(node: Node, rule: str, words: str, page: int) -> str:
    """The processes under a rule, or under any; those that have ``words`` in a cell; one page of them."""
    found = [some for some in node.placements.placements if rule in ("", some.rule)]
    wanted = words.lower()
    if wanted:
        found = [some for some in found if wanted in _searched(some).lower()]
    page = max(1, min(page, -(-len(found) // ROWS)))
    rows = [
        (
            link("/process", some.pid, pid=some.pid),
            text(some.comm),
            text(some.rule + remark(some)),
            text(some.state),
            str(some.oom_score_adj),
            str(some.adj_before) if some.HasField("adj_before") else "-",
            text(pod_name(some.pod)) if some.HasField("pod") else "-",
            text(some.group or "-"),
            text("; ".join(refusal.detail for refusal in some.refusals) or "-"),
        )
        for some in found[(page - 1) * ROWS : page * ROWS]
    ]
    heads = ("#PID", "=Name", "Rule", "=State", "#oom_score_adj", "#Before", "Pod", "Cgroup", "Refused")
    first = (page - 1) * ROWS + 1
    caption = f"processes {first} to {first + len(rows) - 1} of {len(found)}" if rows else "no process"
    form = (
        f'<form method="get" action="/processes" role="search"><label for="filter">Only with this text </label>'
        f'<input id="filter" name="q" value="{text(words)}"><input type="hidden" name="rule" value="{text(rule)}"> '
        f"<button>Filter</button></form>"
    )
    given = {"rule": rule, "q": words}
    steps = [
        link("/processes", f"Page {at}", page=at, **given)
        for at in (page - 1, page + 1)
        if 0 < (at - 1) * ROWS + 1 <= len(found) and at
    ]
    title = f"Processes under {rule}" if rule else "Processes under a rule"
    pager = f'<nav aria-label="More processes">{" · ".join(steps)}</nav>' if steps else ""
    why = "".join(_yaml(one) for one in node.rules.rules if rule and one.name == rule)
    return section(title, form + table(caption, heads, rows) + pager) + why


def _yaml(rule: pb.RuleInfo) -> str:
    lines = "\n".join(text(line) for line in rule.yaml.split("\n"))
    return section("The rule", f"<p>{text(rule.reason)}</p><pre>{lines}</pre>")


def _searched(some: pb.PlacementInfo) -> str:
    return " ".join((str(some.pid), some.comm, some.rule, some.state, some.group, pod_name(some.pod)))


def explanation(answer: pb.ExplainResponse, *, is_private: bool) -> str:
    """One process. Its command line, its program, and the values that rules were compared with only if ``is_private``:
    the API gives them to the node's own socket alone.
    """
    some, decision = answer.process, answer.decision
    pairs = [("Parent", str(some.ppid)), ("User", str(some.uid)), ("Threads", str(some.threads))]
    if is_private:
        pairs += [
            ("Command", f"<code>{text(' '.join(some.cmdline))}</code>"),
            ("Program", text(some.exe or "(hidden)")),
        ]
    else:
        pairs.append(("Command", f"only on the node: <code>holdfast explain {some.pid}</code>"))
    pairs += [(f"Cgroup {name}".strip(), text(path)) for name, path in sorted(some.cgroups.items())]
    pairs.append(("oom_score_adj", str(some.oom_score_adj)))
    if some.HasField("pod"):
        pairs.append(("Pod", text(pod_name(some.pod))))
    verb = "Would write" if decision.dry_run else "To write"
    decided = [
        ("Rule", link("/processes", decision.rule, rule=decision.rule) if decision.rule else "none: nothing is done")
    ]
    decided += [(verb, text(line)) for line in change_lines(decision.changes)]
    decided += [("Refused", f"{text(refusal.detail)} [{text(refusal.reason)}]") for refusal in decision.refusals]
    decided += [("Note", text(note)) for note in answer.notes if is_private]
    rows = [
        (
            link("/processes", one.rule, rule=one.rule),
            "matches" if one.holds else "no",
            text("" if one.holds else _comparison(one, is_private)),
        )
        for one in answer.considered
    ]
    return (
        section(f"Process {some.pid} ({some.comm})", facts(pairs))
        + section("Decision", facts(decided))
        + section(
            "Rules, in their order",
            table("the first rule that matches decides", ("Rule", "Matches", "First clause that failed"), rows),
        )
    )


def _comparison(one: pb.Considered, is_private: bool) -> str:
    return f"{one.clause} is {one.found or '(empty)'}, wants {one.wanted}" if is_private else one.clause


def not_there(words: str) -> str:
    """A page for something that is not there."""
    return section("Not found", f"<p>{text(words)}</p>")
