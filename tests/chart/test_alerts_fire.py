"""A real Prometheus over the series of `alert_cases`: each alert fires, with its labels and words filled in.

The series end now: promtool writes them into the storage that Prometheus opens. Each case has a job of its own, and so
have the rules; ``for`` is left out, as in real time it would be waited for.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
import yaml

from tests.chart.alert_cases import CASES
from tests.chart.kit import one, ran
from tests.needs import path_of, peer
from tests.running import PATIENCE_S

pytestmark = peer("helm4", "promtool", "prometheus")
#: The chart's names, in a series or an expression, and those of a case.
NAMES = re.compile(r'(job|namespace|daemonset)="holdfast"')


def cases():
    """Each alert's first case in which it fires, under a name of its own."""
    for number, (alert, known) in enumerate(CASES.items()):
        yield alert, f"case{number}", next(case for case in known if case.firing)


def renamed(text, name):
    return NAMES.sub(rf'\1="{name}"', text)


def samples(values):
    """One value a minute, None where there is none: ``3 0x2 1+2x3 _x4`` of promtool."""
    for word in values.split():
        first, _, times = word.partition("x")
        start, _, step = first.partition("+")
        for at in range(int(times or 0) + 1 if start != "_" else int(times or 1)):
            yield None if start == "_" else float(start) + at * float(step or 0)


def openmetrics(now):
    """All the series, ending at ``now``."""
    lines = []
    for _, name, case in cases():
        for series, values in case.series.items():
            for minute, value in zip(range(case.minutes + 1), samples(values), strict=False):
                if value is not None:
                    lines.append(f"{renamed(series, name)} {value} {now - 60 * (case.minutes - minute)}")
    return "\n".join((*lines, "# EOF\n"))


@pytest.fixture
def rules(helm):
    """The chart's alerts, each for the job of its case."""
    spec = one(helm.template({"metrics.prometheusRule.enabled": True}), "PrometheusRule")["spec"]
    by_name = {rule["alert"]: rule for rule in spec["groups"][0]["rules"]}
    ours = [{**by_name[alert], "expr": renamed(by_name[alert]["expr"], name)} for alert, name, _ in cases()]
    assert len(ours) == len(by_name)
    for rule in ours:
        rule.pop("for", None)
    return {"groups": [{"name": "holdfast", "interval": "1s", "rules": ours}]}


@pytest.fixture
def firing(rules, short_dir, free_port, start):
    """Asks the Prometheus for the alerts that fire."""
    (short_dir / "rules.yaml").write_text(yaml.safe_dump(rules))
    (short_dir / "prometheus.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"]}))
    (short_dir / "series").write_text(openmetrics(int(time.time())))
    backfill = [path_of("promtool"), "tsdb", "create-blocks-from", "openmetrics", "series", "data"]
    done = ran(*backfill, cwd=short_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    address = f"127.0.0.1:{free_port()}"
    options = {"config.file": "prometheus.yaml", "storage.tsdb.path": "data", "web.listen-address": address}
    server = start([path_of("prometheus"), *(f"--{name}={value}" for name, value in options.items())], cwd=short_dir)
    server.line("Server is ready to receive web requests")

    def ask():
        with urllib.request.urlopen(f"http://{address}/api/v1/alerts", timeout=PATIENCE_S) as answer:
            found = json.load(answer)["data"]["alerts"]
        return [alert for alert in found if alert["state"] == "firing"]

    return ask


def test_a_prometheus_fires_each_alert(firing):
    wanted = sorted(alert for alert, _, case in cases() for _ in range(case.firing))
    deadline = time.monotonic() + PATIENCE_S
    while (fired := sorted(alert["labels"]["alertname"] for alert in firing())) != wanted:
        assert time.monotonic() < deadline, set(wanted) ^ set(fired)
        time.sleep(0.1)
    for alert in firing():
        assert {"severity", "alertname"} <= alert["labels"].keys()
        assert "<no value>" not in "".join(alert["annotations"].values())
