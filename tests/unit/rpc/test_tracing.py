from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from holdfast.config import Settings
from holdfast.errors import BootError
from holdfast.rpc.tracing import exporters, sampler, tracing_from


def settings(**tracing: object) -> Settings:
    return msgspec.convert({"tracing": tracing}, Settings)


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": ""}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console,otlp"}, ["otlp", "console"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4317"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_exporters_follow_the_standard_variables(environ, names):
    assert exporters(environ) == names


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (True, 1.0)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, (False, 0.0)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, (False, 0.25)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, (True, 0.01)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, (True, 1.0)),
    ],
)
def test_without_a_setting_the_standard_variables_decide(environ, expected):
    assert sampler(None, True, environ) == expected


def test_the_setting_wins_over_the_variables():
    assert sampler(0.5, False, {"OTEL_TRACES_SAMPLER": "always_on"}) == (False, 0.5)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER: sometimes: expected one of always_on, "),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"},
            "OTEL_TRACES_SAMPLER_ARG: half: expected a number from 0 to 1",
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "expected a number from 0 to 1"),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER: jaeger: expected otlp, console or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, "OTEL_EXPORTER_OTLP_PROTOCOL: carrier-pigeon: expected"),
    ],
)
def test_a_variable_that_cannot_be_followed_ends_the_boot_with_its_name(environ, words):
    with pytest.raises(BootError) as caught:
        tracing_from(settings(), {"OTEL_TRACES_EXPORTER": "otlp"} | environ)
    assert words in str(caught.value)


@pytest.mark.parametrize(("exporters", "traced"), [("otlp", False), ("otlp,console", True)])
def test_an_exporter_that_is_not_installed_is_said_and_served_without(monkeypatch, caplog, exporters, traced):
    monkeypatch.setattr("holdfast.rpc.tracing._offer_to_plugins", lambda tracing: None)
    environ = {"OTEL_TRACES_EXPORTER": exporters, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    tracing = tracing_from(settings(), environ)
    assert (tracing is not None) is traced
    (line,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert line.getMessage() == "traces are not exported over OTLP; the exporter is not installed"
    assert line.fields["install"] == "pip install 'opentelemetry-exporter-otlp-proto-http'"
    if tracing is not None:
        tracing.provider.shutdown()


def test_tracing_is_off_where_nothing_asks_for_it():
    assert tracing_from(settings(), {}) is None


def test_a_ratio_without_anywhere_to_send_to_is_said(caplog):
    assert tracing_from(settings(ratio=0.1), {}) is None
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["tracing.ratio is set"]


def in_a_fresh_process(program: str, **environ: str) -> str:
    service = Path(__file__).parents[3] / "service"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(service), "PATH": "/usr/bin", **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_off_imports_nothing_of_opentelemetry():
    program = """
import sys
from holdfast import rpc
from holdfast.config import Settings
assert rpc.tracing_from(Settings()) is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert in_a_fresh_process(program) == "[]"


def test_on_spans_are_the_services_and_plugins_share_the_provider():
    program = """
import asyncio, msgspec
from holdfast import rpc
from holdfast.config import Settings
from opentelemetry import trace
tracing = rpc.tracing_from(msgspec.convert({"tracing": {"ratio": 0.5, "parent_based": False}}, Settings))
assert trace.get_tracer_provider() is tracing.provider
attributes = tracing.provider.resource.attributes
print(attributes["service.name"], attributes["team"], tracing.choice.get_description())
asyncio.run(tracing.close())
"""
    environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_RESOURCE_ATTRIBUTES": "team=nodes"}
    assert in_a_fresh_process(program, **environ) == "holdfast nodes holdfast(parent_based=False, ratio=0.5)"
    environ["OTEL_SERVICE_NAME"] = "mine"
    assert in_a_fresh_process(program, **environ).startswith("mine nodes")


def test_a_propagator_nobody_knows_ends_the_boot_with_the_variables_name():
    program = """
from holdfast import rpc
from holdfast.config import Settings
from holdfast.errors import BootError
try:
    rpc.tracing_from(Settings())
except BootError as error:
    print(error)
"""
    said = in_a_fresh_process(program, OTEL_TRACES_EXPORTER="console", OTEL_PROPAGATORS="smoke-signals")
    assert said.startswith("OTEL_PROPAGATORS: ")
    assert "smoke-signals" in said
    assert "\\n" not in said
