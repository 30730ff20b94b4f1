"""What a process costs under 1 rule and under 1,000: ``python bench/rules.py``. Prints microseconds and their ratio.

2,000 processes of 200 programs in 300 cgroups, planned under rules of names, of cgroup globs, and of names, paths,
users and command lines mixed. ``few``: one process in 200 matches, under either number of rules. ``all``: every one
matches, under one rule with wildcards or under a rule for each. The cold columns have each value's first look.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time

import msgspec
from holdfast.node.plan import plan
from holdfast.node.rules import Rules, compile_rules
from holdfast.node.schema import Rule
from holdfast.node.snapshot import HostFacts, Process

HOST = HostFacts(boot_id="bench", own_pid=1, memory_pages=1 << 22, capabilities=frozenset({"CAP_SYS_RESOURCE"}), cpus=2)
ROUNDS = 9


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
    started = time.perf_counter()
    for process in processes:
        plan(process, rules, HOST)
    return (time.perf_counter() - started) / len(processes) * 1e6


def main() -> int:
    processes, worst = population(), 0.0
    for arm, spread in itertools.product(("names", "cgroups", "mixed"), ("few", "all")):
        few, many = book(arm, spread, 1), book(arm, spread, 1000)
        cold = once(few, processes), once(many, processes)
        pairs = [(once(few, processes), once(many, processes)) for _ in range(ROUNDS)]  # alternating
        ratio = statistics.median(large / small for small, large in pairs)
        worst = max(worst, ratio)
        small, large = (statistics.median(side) for side in zip(*pairs, strict=True))
        figures = {"one_us": small, "thousand_us": large, "ratio": ratio, "cold_1": cold[0], "cold_1000": cold[1]}
        rounded = {key: round(value, 2) for key, value in figures.items()}
        print(json.dumps({"bench": "rules", "arm": arm, "matching": spread, **rounded}))
    print(json.dumps({"bench": "rules", "worst_ratio": round(worst, 2), "limit": 3.0, "stretch": 1.5}))
    return 0 if worst <= 3.0 else 1


if __name__ == "__main__":
    sys.exit(main())
