"""``promtool`` finds nothing to say about our metrics, Prometheus scrapes them, and their names are containerd's."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.needs import path_of, peer
from tests.peers.case import ctr
from tests.running import PATIENCE_S, until

#: Families that only one of the two has; docs/containerd-differences.md says so.
OURS = ("holdfast_", "python_", "process_threads")
NOT_OURS = ("go_", "containerd_", "promhttp_")

HISTOGRAM = '[metrics]\n address = "127.0.0.1:{port}"\n grpc_histogram = true'


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return answer.read().decode(), answer.headers


@pytest.fixture
def measured(free_port):
    """Starts a daemon that serves metrics, makes the same calls to it, and gives the page's address."""

    def measure(start):
        port = free_port()
        daemon = start(tables=HISTOGRAM.format(port=port))
        assert ctr(daemon, "version").returncode == 0
        assert ctr(daemon, "plugins", "ls").returncode == 0
        assert ctr(daemon, "plugins", "ls", "bad==").returncode == 1
        return f"http://127.0.0.1:{port}/v1/metrics"

    return measure


@peer("promtool", "ctr")
@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
def test_promtool_has_nothing_to_say(ours, measured, path):
    page, headers = get(measured(ours).replace("/v1/metrics", path))
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(
        [path_of("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@peer("prometheus", "ctr")
def test_prometheus_scrapes_us(ours, measured, start, short_dir, free_port):
    target = measured(ours).split("/")[2]
    config = short_dir / "prometheus.yml"
    job = {"job_name": "holdfast", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    config.write_text(json.dumps({"scrape_configs": [job]}))  # JSON is YAML
    port = free_port()
    server = start(
        [
            path_of("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={short_dir}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    )
    server.line("ready to receive web requests")

    def value(expression):
        found = []
        while not found:  # its first scrape comes within the interval
            assert not server.ended(0.1), server.said
            page, _ = get(f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
            found = json.loads(page)["data"]["result"]
        return float(found[0]["value"][1])

    assert value("up") == 1
    assert value('grpc_server_handled_total{grpc_method="Version",grpc_code="OK"}') == 1
    assert value('grpc_server_handled_total{grpc_method="Plugins",grpc_code="InvalidArgument"}') == 1


@peer("prometheus", "ctr")
def test_prometheus_keeps_the_trace_of_a_call_as_an_exemplar(ours, start, short_dir, free_port):
    port, server_port = free_port(), free_port()
    traced = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    daemon = ours(tables=HISTOGRAM.format(port=port), env=traced)
    assert ctr(daemon, "version").returncode == 0
    job = {"job_name": "holdfast", "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = short_dir / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": [job]}))
    server = start(
        [
            path_of("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={short_dir}/tsdb",
            f"--web.listen-address=127.0.0.1:{server_port}",
            "--enable-feature=exemplar-storage",
        ]
    )
    server.line("ready to receive web requests")
    query = urllib.parse.urlencode(
        {"query": "grpc_server_handling_seconds_bucket", "start": time.time() - 3600, "end": time.time() + 3600}
    )

    def kept():
        page, _ = get(f"http://127.0.0.1:{server_port}/api/v1/query_exemplars?{query}")
        found = json.loads(page)["data"]
        ours = [series["exemplars"] for series in found if series["seriesLabels"]["grpc_method"] == "Version"]
        return {one["labels"]["trace_id"] for exemplars in ours for one in exemplars}

    for trace in until(kept, "an exemplar of the call in Prometheus"):
        daemon.line(f'"trace_id": "0x{trace}"')


def families(page: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(page)}


def shared(labels: Iterable[dict[str, str]], services: set[str]) -> set[frozenset[tuple[str, str]]]:
    """Label sets of services that both daemons serve, without the buckets' bounds."""
    kept = [dict(one) for one in labels if one.get("grpc_service") in services]
    return {frozenset(one.items()) for one in kept}


@peer("containerd", "ctr")
def test_families_types_and_label_sets_are_containerds(ours, theirs, measured):
    pages = families(get(measured(ours))[0]), families(get(measured(theirs))[0])
    names = [{name for name in page if not name.startswith(NOT_OURS)} for page in pages]
    assert names[1] <= names[0]
    assert {name for name in names[0] - names[1] if not name.startswith(OURS)} == set()
    services = [
        {sample.labels.get("grpc_service", "") for f in page.values() for sample in f.samples} for page in pages
    ]
    both = (services[0] & services[1]) - {""}
    assert len(both) >= 3
    assert "grpc.health.v1.Health" in services[1] - services[0]  # probes are neither counted nor traced
    assert len([name for name in names[1] if name.startswith("process_")]) == 7
    for name in names[1]:
        mine, real = pages[0][name], pages[1][name]
        assert (mine.type, mine.documentation) == (real.type, real.documentation)
        assert {s.name for s in mine.samples} == {s.name for s in real.samples}
        labels = [s.labels for s in mine.samples if s.labels.get("grpc_method") != "PluginInfo"]  # since containerd 2.0
        assert shared(labels, both) == shared((s.labels for s in real.samples), both)


@peer("containerd", "ctr")
def test_the_same_calls_are_counted_alike(ours, theirs, measured):
    """Every sample of the two services that were called, which no clock decides."""

    def counted(start):
        page = families(get(measured(start))[0])
        services = ("containerd.services.version.v1.Version", "containerd.services.introspection.v1.Introspection")
        samples = [s for f in page.values() for s in f.samples if s.labels.get("grpc_service") in services]
        timed = ("_sum", "_bucket", "_created")
        return {(s.name, *sorted(s.labels.items())): s.value for s in samples if s.value and not s.name.endswith(timed)}

    assert counted(ours) == counted(theirs)


@peer("ctr")
def test_any_other_path_is_not_found(ours, measured):
    url = measured(ours)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(url.replace("/v1/metrics", "/nonsense"))
