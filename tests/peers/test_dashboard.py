"""Every query of the Grafana dashboard and of the alerts, answered by a Prometheus that scraped a daemon."""

from __future__ import annotations

import json
import re
import socket
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.needs import path_of, peer
from tests.peers.case import ctr
from tests.running import PATIENCE_S, until

pytestmark = [peer("prometheus", "ctr", "nripeer"), pytest.mark.root]
CHART = Path(__file__).parents[2] / "helm" / "holdfast"
TABLES = """\
[metrics]
  address = "127.0.0.1:{port}"
  grpc_histogram = true
[plugins."io.holdfast.nri.v1.plugin"]
  enabled = true
  socket_path = "{nri}"
"""
#: Not ours: made by Prometheus itself, or by kube-state-metrics.
ELSEWHERE = {"up", "kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_ready"}
FAMILY = re.compile(r"\b((?:holdfast|grpc|process|kube|up)[a-z0-9_]*)[{\[]")


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def dashboard_queries():
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    panels = [one for panel in dashboard["panels"] for one in (panel, *panel.get("panels", ()))]
    named = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    filled = {"$job": ".*", "$node": ".*", "$__rate_interval": "1m"}
    for word, value in filled.items():
        named = [(title, query.replace(word, value)) for title, query in named]
    assert "$" not in "".join(query for _, query in named)
    return named


def alert_queries():
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    marks = re.compile("@[A-Z]+@")
    return [(rule["alert"], marks.sub("holdfast", rule["expr"])) for group in groups for rule in group["rules"]]


@pytest.fixture
def runtime(start, short_dir):
    """The socket of a runtime of Go's NRI package, and a function that sends it commands."""
    control, nri = short_dir / "control", short_dir / "nri.sock"
    start([path_of("nripeer"), control, nri]).line("listening")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(control))
        with connection.makefile("rw") as lines:

            def well(do, **more):
                lines.write(json.dumps({"Do": do, **more}) + "\n")
                lines.flush()
                said = json.loads(lines.readline())
                assert "error" not in said, (do, said)

            well("timeout", Millis=30_000)  # by default a plugin that is 2 s late is dropped
            well("start")
            yield nri, well


@pytest.fixture
def scraped(ours, start, short_dir, free_port, runtime):
    """A daemon's page, and a function that asks the Prometheus that scraped it at least twice.

    It is the NRI plugin of a runtime that created a container between two scrapes.
    """
    port, own = free_port(), free_port()
    nri, tell = runtime
    daemon = ours(tables=TABLES.format(port=port, nri=nri))
    assert ctr(daemon, "version").returncode == 0
    tell("wait", Plugins=1)
    job = {"job_name": "holdfast", "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = short_dir / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": [job]}))  # JSON is YAML
    server = start(
        [
            path_of("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={short_dir}/tsdb",
            f"--web.listen-address=127.0.0.1:{own}",
        ]
    )
    server.line("ready to receive web requests")

    def ask(query):
        page = get(f"http://127.0.0.1:{own}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        answer = json.loads(page)
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    for sign_of_scrapes in (
        "rate(process_cpu_seconds_total[1m])",
        "sum(rate(grpc_server_handled_total[1m])) > 0",
        "sum(rate(holdfast_nri_containers_total[1m])) > 0",
    ):
        while not ask(sign_of_scrapes):
            assert not server.ended(0.1), server.said
        assert ctr(daemon, "version").returncode == 0  # a rate needs a call between two scrapes
        tell("create", UID="u1", Pod="p", Namespace="n", ID="i", Container="c", Path="/kubepods/podu1/i", Adj=985)
    return get(f"http://127.0.0.1:{port}/metrics"), ask


def test_every_query_is_answered_and_every_family_is_the_daemon_s(scraped):
    page, ask = scraped
    families = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)) | ELSEWHERE
    with_samples = {line.partition("{")[0].partition(" ")[0] for line in page.splitlines() if line[:1] != "#"}
    answered = 0
    for title, query in [*dashboard_queries(), *alert_queries()]:
        used = {name.removesuffix("_bucket") for name in FAMILY.findall(query)}
        assert used, (title, query)
        assert used <= families, (title, used - families)
        ask(query)
        plain = query.startswith(("sum", "max", "count by", "rate", "process")) and not re.search(r'="|=~"[A-Z]', query)
        if plain and used <= with_samples:
            until(lambda query=query: ask(query), f"{title}: {query}")  # what is on the page now is scraped in a second
            answered += 1
    assert answered >= 10


def test_the_nri_row_shows_a_runtime_that_has_us_and_what_it_was_answered(scraped):
    _, ask = scraped
    shown = {}
    for _, query in dashboard_queries():
        if "holdfast_nri" in query:
            shown[query.replace('{job=~".*",node=~".*"}', "")] = {
                " ".join(row["metric"].values()): float(row["value"][1]) for row in ask(query)
            }
    assert shown.pop("sum(holdfast_nri_connected)") == {"": 1}
    assert shown.pop("count(holdfast_nri_connected == 0) or vector(0)") == {"": 0}
    assert shown.pop("sum by (object) (holdfast_nri_synchronized)") == {"pods": 0, "containers": 0}
    created = shown.pop("sum by (outcome) (rate(holdfast_nri_containers_total[1m]))")
    assert created.pop("nothing") > 0
    assert created == {"adjusted": 0, "dry_run": 0, "left_alone": 0}
    quantiles = [shown.pop(query)["CreateContainer"] for query in list(shown) if "quantile" in query]
    assert len(quantiles) == 2
    assert 0 < quantiles[0] <= quantiles[1] < 2
    assert shown == {
        "sum by (node) (increase(holdfast_nri_connections_total[1m]))": {"": 0},  # taken once, before the first scrape
        "sum by (method) (increase(holdfast_nri_failures_total[1m]))": {},  # none, so no method has a series
        "sum(increase(holdfast_nri_left_out_total[1m]))": {"": 0},
    }


def test_a_family_of_the_daemon_s_own_is_shown_or_left_out_on_purpose(scraped):
    page, _ = scraped
    ours = {name for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE) if name.startswith("holdfast_")}
    words = " ".join(query for _, query in [*dashboard_queries(), *alert_queries()])
    shown = {name for name in ours if re.search(rf"\b{name}(_bucket)?\b", words)}
    assert sorted(ours - shown) == [
        "holdfast_background_job_restarts_total",
        "holdfast_config_last_reload_success_timestamp_seconds",
        "holdfast_connection_pauses_total",
        "holdfast_connections",
        "holdfast_connections_closed_total",
        "holdfast_events_queued_total",
        "holdfast_events_subscribers",
        "holdfast_gc_pause_seconds",
        "holdfast_gc_removed_total",
        "holdfast_health_watches_refused_total",
        "holdfast_kernel_text_refused_total",
        "holdfast_log_lines_suppressed_total",
        "holdfast_loop_blocked_seconds",
        "holdfast_placement_containers_looked_at_total",
        "holdfast_placement_containers_skipped_total",
        "holdfast_placement_crowds_slowed_total",
        "holdfast_placement_events_skipped_total",
        "holdfast_placement_group_walks_cut_total",
        "holdfast_placement_missed_total",
        "holdfast_placement_process_errors_total",
        "holdfast_placement_processes_slowed_total",
        "holdfast_placement_recycled_total",
        "holdfast_placement_refusals_total",
        "holdfast_placement_sweep_seconds",
        "holdfast_placement_unreadable_processes",
        "holdfast_placement_unreadable_total",
        "holdfast_pods_unasked_total",
        "holdfast_pods_values_cut",
        "holdfast_ttrpc_connections",
        "holdfast_ttrpc_connections_refused_total",
    ]
