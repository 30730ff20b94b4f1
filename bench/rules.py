"""Cost to plan a process under 1 rule and under 1,000.

2,000 processes of 200 programs in 300 cgroups, under rules of names, of cgroup globs, and of names, paths, users and
command lines mixed. ``few``: one process in 200 matches, under either number of rules. ``all``: every one matches,
under one rule with wildcards or under a rule for each. The limit is three times.
"""

from __future__ import annotations

import itertools
import sys
import time

import msgspec
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.plan.plan import plan
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import Rule

from bench.frame.figure import Figure, options, publish

HOST = HostFacts(boot_id="bench", own_pid=1, memory_pages=1 << 22, capabilities=frozenset({"CAP_SYS_RESOURCE"}), cpus=2)
LIMIT = 3.0


def matches(arm: str, at: int | str) -> dict[str, object]:
    """A rule's ``match`` that holds for program ``at``; ``*`` for all."""
    if arm == "names":
        return {"comm": f"prog{at}"}
    if arm == "cgroups":
        return {"cgroup": f"/slice{at}.slice/**"}
    return {
        "comm": [f"prog{at}", f"pr?g{at}x*"],
        "exe": f"/usr/*/prog{at}",
        "user": "0-100000" if at == "*" else [at, f"{at}0000-{at}9999"],
        "cmdline": f"* --id {at} *",
    }


def book(arm: str, spread: str, count: int) -> Rules:
    names: list[int | str] = ["*"] if spread == "all" and count == 1 else list(range(count))
    if spread == "few":
        names = [0, *range(1000, 999 + count)]  # only program 0 is on this node
    given = [{"name": f"r{at}", "match": matches(arm, at), "oom_score_adj": 5} for at in names]
    return compile_rules(msgspec.convert(given, tuple[Rule, ...]))


def population() -> list[Process]:
    return [
        Process(
            pid=100 + at,
            start_ticks=at,
            ppid=1,
            comm=f"prog{at % 200}",
            exe=f"/usr/bin/prog{at % 200}",
            cmdline=(f"prog{at % 200}", "--id", str(at % 200), "x"),
            uid=at % 200,
            cgroups={"": f"/slice{at % 300}.slice/unit{at % 300}.service"},
        )
        for at in range(2000)
    ]


def once(rules: Rules, processes: list[Process]) -> float:
    """Microseconds of CPU a process: other load on the machine is nobody's fault."""
    started = time.thread_time()
    for process in processes:
        plan(process, rules, HOST)
    return (time.thread_time() - started) / len(processes) * 1e6


def measured(arm: str, spread: str, rounds: int, processes: list[Process]) -> Figure:
    """1,000 rules beside 1, alternating; the first look at every value goes into the note."""
    few, many = book(arm, spread, 1), book(arm, spread, 1000)
    cold = once(few, processes), once(many, processes)
    pairs = [(once(many, processes), once(few, processes)) for _ in range(rounds)]
    ours, peers = zip(*pairs, strict=True)
    note = f"first look {cold[1]:.1f} against {cold[0]:.1f}"
    return Figure(
        f"a process under 1,000 rules of {arm}, {spread} match", "µs", ours, peers, "1 rule", "lower", note, LIMIT, 1.5
    )


def main(argv: list[str]) -> int:
    given, processes = options(argv, __doc__), population()
    figures = [
        measured(arm, spread, given.rounds(9, 3), processes)
        for arm, spread in itertools.product(("names", "cgroups", "mixed"), ("few", "all"))
    ]
    status = publish("rules", figures, given)
    return status or int(max(figure.ratio or 0 for figure in figures) > LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
