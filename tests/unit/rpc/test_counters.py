from __future__ import annotations

import time
import timeit

from holdfast.errors import Code
from holdfast.metrics import Registry
from holdfast.rpc import Counters, MethodType
from holdfast.rpc.counters import GO_CODES

EXPECTED = """\
# HELP grpc_server_msg_received_total Total number of RPC stream messages received on the server.
# TYPE grpc_server_msg_received_total counter
grpc_server_msg_received_total{grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"} 3
# HELP grpc_server_msg_sent_total Total number of gRPC stream messages sent by the server.
# TYPE grpc_server_msg_sent_total counter
grpc_server_msg_sent_total{grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"} 2
# HELP grpc_server_started_total Total number of RPCs started on the server.
# TYPE grpc_server_started_total counter
grpc_server_started_total{grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"} 4
"""


def text_of(counters: Counters) -> str:
    registry = Registry()
    counters.add_to(registry)
    return registry.text().decode()


def test_the_words_are_gos():
    assert dict(zip(GO_CODES, Code, strict=True)) == {
        "OK": Code.OK,
        "Canceled": Code.CANCELED,
        "Unknown": Code.UNKNOWN,
        "InvalidArgument": Code.INVALID_ARGUMENT,
        "DeadlineExceeded": Code.DEADLINE_EXCEEDED,
        "NotFound": Code.NOT_FOUND,
        "AlreadyExists": Code.ALREADY_EXISTS,
        "PermissionDenied": Code.PERMISSION_DENIED,
        "ResourceExhausted": Code.RESOURCE_EXHAUSTED,
        "FailedPrecondition": Code.FAILED_PRECONDITION,
        "Aborted": Code.ABORTED,
        "OutOfRange": Code.OUT_OF_RANGE,
        "Unimplemented": Code.UNIMPLEMENTED,
        "Internal": Code.INTERNAL,
        "Unavailable": Code.UNAVAILABLE,
        "DataLoss": Code.DATA_LOSS,
        "Unauthenticated": Code.UNAUTHENTICATED,
    }
    assert [str(kind) for kind in MethodType] == ["unary", "client_stream", "server_stream", "bidi_stream"]


def test_the_families_are_printed_as_go_grpc_prometheus_prints_them():
    counters = Counters()
    method = counters.method("/a.v1.B/Get", MethodType.UNARY)
    method.started, method.received, method.sent = 4, 3, 2
    text = text_of(counters)
    assert text.endswith(EXPECTED)


def test_every_code_of_a_method_is_there_at_zero_from_its_registration():
    counters = Counters()
    counters.method("/a.v1.B/Get", MethodType.UNARY).handled[Code.NOT_FOUND] += 1
    lines = [line for line in text_of(counters).splitlines() if line.startswith("grpc_server_handled_total")]
    assert len(lines) == 17
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == 1
    assert (
        'grpc_server_handled_total{grpc_code="NotFound",grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"} 1'
        in lines
    )


def test_without_zero_series_a_method_is_there_from_its_first_call():
    counters = Counters(histogram=True, zero_series=False)
    called, _ = (counters.method(f"/a.v1.B/{name}", MethodType.UNARY) for name in ("Get", "Put"))
    assert "a.v1.B" not in text_of(counters)
    called.started = 1
    assert 'grpc_server_started_total{grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"} 1\n' in text_of(
        counters
    )
    assert "Put" not in text_of(counters)


def test_the_histogram_is_there_only_when_asked_for():
    assert "grpc_server_handling_seconds" not in text_of(Counters())
    counters = Counters(histogram=True)
    counters.method("/a.v1.B/Get", MethodType.UNARY).seconds.observe(0.005)
    lines = [line for line in text_of(counters).splitlines() if line.startswith("grpc_server_handling_seconds")]
    labels = 'grpc_method="Get",grpc_service="a.v1.B",grpc_type="unary"'
    assert lines[0] == f'grpc_server_handling_seconds_bucket{{{labels},le="0.005"}} 1'
    assert lines[11] == f'grpc_server_handling_seconds_bucket{{{labels},le="+Inf"}} 1'
    assert lines[12:] == [
        f"grpc_server_handling_seconds_sum{{{labels}}} 0.005",
        f"grpc_server_handling_seconds_count{{{labels}}} 1",
    ]


def test_a_method_on_two_listeners_has_one_set_of_counters():
    counters = Counters()
    assert counters.method("/a.B/C", MethodType.UNARY) is counters.method("/a.B/C", MethodType.UNARY)


def test_a_scrape_of_200_methods_with_histogram_stays_within_its_budget():
    counters = Counters(histogram=True)
    for number in range(200):
        method = counters.method(f"/holdfast.test.v1.Service{number // 10}/Method{number}", MethodType.UNARY)
        method.started = number
        method.seconds.observe(0.003)
    registry = Registry()
    counters.add_to(registry)
    best = min(timeit.repeat(registry.text, number=1, repeat=20, timer=time.thread_time))
    assert registry.text().count(b"\n") == 200 * (3 + 17 + 14) + 10
    assert best < 0.02  # 2 ms on an idle machine; a client library takes 70
