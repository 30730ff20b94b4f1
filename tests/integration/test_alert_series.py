"""The series that the alerts are tried with (`tests.chart.alert_cases`) are those of a real daemon, label for label."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chart.alert_cases import CASES, FOREIGN, SCRAPED
from tests.integration.node_kit import NAME, VICTIM, eat
from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S

pytestmark = pytest.mark.root
SERIES = re.compile(r"(\w+)\{(.*)\}")


def used():
    """Each daemon's family of the cases, with its label names as the daemon's own page has them."""
    found = {}
    for cases in CASES.values():
        for case in cases:
            for series in case.series:
                family, labels = SERIES.fullmatch(series).groups()
                names = frozenset(re.findall(r"(\w+)=", labels)) - SCRAPED
                if not family.startswith(FOREIGN):
                    found.setdefault(family, set()).add(names)
    return found


def shown(page):
    """Each family's sets of label names, of the samples that are there."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found


@pytest.fixture
def page(short_dir, free_port):
    """Starts a daemon with these rules, and gives a function that waits for a line of its page, and gives the page."""
    port = free_port()
    started = []

    def start(*rules):
        config = {
            "root": f"{short_dir}/root",
            "state": f"{short_dir}/state",
            "grpc": {"address": f"{short_dir}/s.sock"},
            "metrics": {"address": f"127.0.0.1:{port}"},
            "web": {"address": ""},
            "plugins": {
                "io.holdfast.nri.v1.plugin": {"enabled": True, "socket_path": f"{short_dir}/nri.sock"},
                "io.holdfast.placement.v1.rules": {
                    "dry_run": False,
                    "builtin_rules": "none",
                    "bundle": "current",
                    "rescan": "1s",
                    "rules": rules,
                },
            },
        }
        path = short_dir / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        daemon = holdfast(short_dir, path)
        started.append(daemon)
        daemon.ready()

        def wait(line):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
                    text = answer.read().decode()
                if re.search(line, text, re.MULTILINE):
                    return text
                assert time.monotonic() < deadline, text
                assert not daemon.ended(0.1), daemon.said

        return wait

    yield start
    for daemon in started:
        daemon.__exit__()


def set_adj(pid, value):
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write(str(value))


def test_every_series_of_the_alerts_cases_is_one_of_a_real_daemon(page, program, sleeper, eater):
    """One process is refused something, another's value is changed by others, a third is killed though protected."""
    stubborn, victim = sleeper(program, "600"), eater(VICTIM, 100)
    set_adj(stubborn.pid, 400)
    set_adj(victim.pid, 300)  # from there it can be lowered without CAP_SYS_RESOURCE
    wait = page(
        {"name": "stubborn", "match": {"comm": NAME}, "oom_score_adj": 500, "only_if_inherited": True},
        {"name": "spared", "match": {"comm": VICTIM}, "oom_score_adj": 100, "trust_claims": True},
    )
    wait(r'^holdfast_placement_processes\{rule="spared",state="held"\} 1$')
    set_adj(victim.pid, 300)
    wait(r'^holdfast_placement_drift_total\{rule="spared"\} 1$')
    assert eat(victim) == ""
    found = shown(wait(r'^holdfast_oom_protected_kills_total\{rule="spared"\} 1$'))
    assert 'rule="stubborn",reason="set_by_itself"' in wait("^holdfast_placement_refused_processes")
    wanted = used()
    assert wanted.keys() - found.keys() == set()
    for family in wanted:
        assert wanted[family] <= found[family], family
