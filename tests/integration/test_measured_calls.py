"""The plugins that measure calls, with a daemon each: one that is disabled is not in the layer around methods."""

import json
import urllib.request

import pytest
from holdfast.cli.main import call

from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S

PROMETHEUS, OTEL = "io.containerd.metrics.v1.grpc-prometheus", "io.containerd.metrics.v1.grpc-otel"
CONSOLE = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "10"}
SPAN = '"name": "containerd.services.introspection.v1.Introspection/Plugins"'


@pytest.fixture
def measured(short_dir, free_port):
    """Start a daemon that traces to its output; the port of its metrics."""
    port = free_port()

    def start(environ, **settings):
        file = short_dir / "config.yaml"
        base = {
            "root": f"{short_dir}/root",
            "state": f"{short_dir}/state",
            "grpc": {"address": f"{short_dir}/s.sock"},
            "metrics": {"address": f"127.0.0.1:{port}"},
            "web": {"address": ""},
        }
        file.write_text(json.dumps(base | settings))  # JSON is YAML
        return holdfast(short_dir, file, env=environ), f"http://127.0.0.1:{port}/metrics"

    return start


def families(page):
    with urllib.request.urlopen(page, timeout=PATIENCE_S) as answer:
        return {line.split()[2] for line in answer.read().decode().splitlines() if line.startswith("# TYPE ")}


def test_calls_are_counted_and_traced(measured):
    running, page = measured(CONSOLE)
    with running as daemon:
        assert call(["plugins", "ls", "-q", "-a", daemon.ready().address]) == 0
        assert daemon.line(SPAN)
        assert "grpc_server_handled_total" in families(page)
        assert daemon.stop() == 0


def test_without_prometheus_there_are_spans_and_no_counts(measured):
    running, page = measured(CONSOLE, disabled_plugins=[PROMETHEUS])
    with running as daemon:
        assert call(["plugins", "ls", "-q", "-a", daemon.ready().address]) == 0
        assert daemon.line(SPAN)
        found = families(page)
        assert [name for name in found if name.startswith("grpc_server_")] == []
        assert "holdfast_build_info" in found
        assert daemon.stop() == 0


def test_without_otel_there_are_counts_and_no_spans(measured):
    running, page = measured(CONSOLE, disabled_plugins=[OTEL])
    with running as daemon:
        assert call(["plugins", "ls", "-q", "-a", daemon.ready().address]) == 0
        assert "grpc_server_handled_total" in families(page)
        assert daemon.stop() == 0  # what was not printed yet is printed at the end
        assert [line for line in [*daemon.out, *daemon.err] if SPAN in line] == []


def test_an_exporter_that_is_not_there_is_said_and_the_daemon_serves_without_it(measured, capsys):
    running, _ = measured({"OTEL_TRACES_EXPORTER": "jaeger"})
    with running as daemon:
        words = "OTEL_TRACES_EXPORTER: jaeger: expected otlp, console or none"
        assert words in daemon.ready().line(f"failed to load plugin {OTEL}")
        assert call(["plugins", "ls", "-d", "id==grpc-otel", "-a", daemon.address]) == 0
        assert words in capsys.readouterr().out
        assert daemon.stop() == 0


def test_an_exporter_that_is_required_ends_the_boot(measured):
    running, _ = measured({"OTEL_TRACES_EXPORTER": "jaeger"}, required_plugins=[OTEL])
    with running as daemon:
        assert daemon.end() == 1
        words = "OTEL_TRACES_EXPORTER: jaeger: expected otlp, console or none"
        assert daemon.err[-1] == f"holdfast: load required plugin {OTEL}: {words}"
