"""Events that every user can make in a loop: forks, programs, names, groups, and kills when memory is full.

Each flood is uid 65534's. Meanwhile a process of root's that the rule matches gets its value in the usual time, and the
engine takes a bounded share of a processor.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED, detect
from holdfast.node.engine.loop import BURST_S
from holdfast.node.engine.user_rate_limit import FREE_EVENTS, MOST_EVENTS

from tests.hostile import kit
from tests.integration.conftest import remove_tree
from tests.running import until

WORKERS = len(os.sched_getaffinity(0))
#: A name that a rule of the daemon's matches, as PREY, and which the flood uses.
BAIT = f"hf-bait-{os.getpid()}"
BAITED = f"      - {{name: bait, match: {{comm: {BAIT}}}, oom_score_adj: {{at_least: 500}}}}"
LIMIT_BYTES = 40 << 20


@pytest.fixture
def churned(short_dir):
    """A daemon with a rule for what the flood calls itself, too."""
    with kit.target(short_dir, rules=BAITED) as made:
        yield made


@pytest.fixture
def bait(short_dir) -> Path:
    """A program of the name that ends at once."""
    path = short_dir / BAIT
    shutil.copy(shutil.which("true") or "/bin/true", path)
    return path


def check_share(figures: kit.Figures) -> None:
    assert figures.engine_share < kit.ENGINE_SHARE + BURST_S / figures.seconds, figures


def check_named(target: kit.Target, seconds: float) -> None:
    """A process that makes more events than are served is named, once between two rescans. The flood is over by now.

    A machine that is busy with others may be too slow for so many; then nothing was skipped.
    """

    def lines() -> list[str]:
        return [line.partition("level=")[2] for line in target.running.err if "too many events" in line]

    def all_are_named() -> bool:
        slowed = sum(target.metric(f"holdfast_placement_{who}_slowed_total") for who in ("processes", "crowds"))
        skipped = target.metric("holdfast_placement_events_skipped_total")
        return (slowed, skipped > 0) == (len(lines()), bool(lines()))

    until(all_are_named, "each is named")  # the last events of the flood are still being served
    rescans = 2 + seconds // kit.RESCAN_S  # the first one is at the start
    assert all(number <= rescans for number in Counter(map(who, lines())).values()), lines()
    written = target.metric("holdfast_placement_writes_total", field="oom_score_adj", result="done")
    assert written < 1.5 * (MOST_EVENTS + FREE_EVENTS) * (seconds + 2), "of those that are not skipped"


def who(line: str) -> str:
    """The process of a line, or the user and group."""
    crowd = re.search(r"cgroup=(\S+).*uid=(\d+)", line)
    return crowd[0] if crowd else line


@pytest.fixture
def flooded(churned, attack):
    """Floods the daemon with events, and checks what it says of that."""

    def check(*words: object) -> None:
        began = time.monotonic()
        flood = attack("churn", *words)
        check_share(churned.survives(flood))
        flood.stop()
        check_named(churned, time.monotonic() - began)

    return check


@pytest.mark.parametrize("kind", ["forks", "chains"])
def test_forks_cost_the_engine_next_to_nothing(churned, attack, kind):
    figures = churned.survives(attack("churn", kind, WORKERS))
    check_share(figures)


@pytest.mark.parametrize("kind", ["execs", "exec-chains"])
def test_programs_of_a_name_that_a_rule_matches_cost_a_bounded_share(flooded, bait, kind):
    flooded(kind, WORKERS, bait)


@pytest.mark.parametrize("kind", ["renames", "short-renames"])
def test_renames_cost_a_bounded_share(flooded, kind):
    flooded(kind, WORKERS, BAIT)


@pytest.mark.parametrize("kind", ["heirs", "heir-chains", "heir-crowds"])
def test_forks_of_a_process_under_a_rule_cost_a_bounded_share(churned, attack, kind):
    figures = churned.survives(attack("churn", kind, WORKERS, BAIT))
    check_share(figures)


def test_values_that_a_process_with_many_children_writes_over_a_rules_cost_a_bounded_share(short_dir, attack):
    rules = f"      - {{name: drift, match: {{comm: {BAIT}}}, oom_score_adj: 500, trust_claims: true}}"
    with kit.target(short_dir, rules=rules) as target:
        attacking = attack("churn", "drifts", 1, BAIT)
        until(lambda: target.metric("holdfast_placement_events_skipped_total"), "not each event is served")
        assert target.metric("holdfast_placement_drift_total") > 0
        check_share(target.observe(attacking))


@pytest.fixture
def delegated():
    """Makes groups that are uid 65534's, as systemd delegates one; they go when the test ends."""
    hierarchy = detect("/proc", "/sys/fs/cgroup")
    made = []

    def delegate(tree, controllers=()) -> str:
        group = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
        tree.create(group, controllers)
        made.append((tree, group))
        for name in ("", "cgroup.procs", "cgroup.subtree_control"):
            with suppress(FileNotFoundError):
                os.chown(f"{tree.at(group)}/{name}", kit.NOBODY, kit.NOBODY)
        return group

    yield hierarchy, delegate
    for tree, group in made:
        remove_tree(tree, group)
    hierarchy.close()


def test_groups_that_come_and_go_in_a_delegated_one_cost_a_bounded_share(churned, delegated, attack):
    hierarchy, delegate = delegated
    tree = hierarchy.trees.get(UNIFIED) or next(iter(hierarchy.trees.values()))
    figures = churned.survives(attack("churn", "groups", WORKERS, tree.at(delegate(tree))))
    check_share(figures)


def test_kills_in_a_group_without_memory_are_counted_and_few_lines(churned, delegated, attack):
    hierarchy, delegate = delegated
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    group = delegate(tree, ["memory"] if tree.name == UNIFIED else ())
    limit = "memory.max" if tree.name == UNIFIED else "memory.limit_in_bytes"
    tree.write(group, limit, str(LIMIT_BYTES))
    figures = churned.survives(attack("churn", "memory", WORKERS, tree.at(group)))
    check_share(figures)
    until(lambda: churned.metric("holdfast_oom_kills_total") > 3, "kills are counted")
