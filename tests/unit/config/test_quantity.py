from typing import Annotated

import msgspec
import pytest
from holdfast.config.decode import decode
from holdfast.config.document import Source, node_of
from holdfast.config.quantity import (
    Bytes,
    Duration,
    format_bytes,
    format_duration,
    parse_bytes,
    parse_duration,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("30s", 30.0),
        ("1h2m3s", 3723.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2.s", 2.0),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("7ns", 7e-9),
        ("-3s", -3.0),
        ("+3s", 3.0),
        ("1m1m", 120.0),
    ],
)
def test_a_go_duration_is_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "1", "s", "1x", "1 s", "1s ", "1h-2m", "1e3s", ".s", "--1s", "9" * 80 + "s", "\n", "1s\u2028"]
)
def test_what_go_refuses_is_refused_with_containerds_words(text):
    with pytest.raises(ValueError, match=r"^unable to parse .*into a time duration") as refused:
        parse_duration(text)
    assert len(str(refused.value).splitlines()) == 1


def test_a_duration_beyond_gos_64_bits_of_nanoseconds_is_refused():
    assert parse_duration("2562047h") == 2562047 * 3600.0
    with pytest.raises(ValueError, match="292 years"):
        parse_duration("2562048h")


@given(st.integers(min_value=0, max_value=10**15))
def test_a_printed_duration_reads_back_to_the_nanosecond(nanoseconds):
    assert round(parse_duration(format_duration(nanoseconds / 10**9)) * 10**9) == nanoseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (30, "30s"),
        (60, "1m"),
        (7200, "2h"),
        (3723.5, "1h2m3.5s"),
        (0.25, "250ms"),
        (-1.5, "-1.5s"),
        (5e-7, "500ns"),
    ],
)
def test_a_duration_is_printed_in_the_units_people_use(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("256Mi", 256 << 20),
        ("1.5Gi", 3 << 29),
        ("1G", 10**9),
        ("1k", 1000),
        ("16MiB", 16 << 20),
        ("2E", 2 * 10**18),
    ],
)
def test_a_kubernetes_quantity_is_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "0.1Ki", "1mi", "1 Mi", "8Ei", "9" * 70])
def test_what_is_no_whole_number_of_bytes_is_refused(text):
    with pytest.raises(ValueError, match=r"^unable to parse .* into a size"):
        parse_bytes(text)


@given(st.integers(min_value=0, max_value=2**62))
def test_a_printed_size_reads_back_exactly(size):
    assert parse_bytes(str(format_bytes(size))) == size


def test_a_plugin_author_gets_plain_numbers_and_msgspecs_own_bounds():
    class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        rescan: Annotated[Duration, msgspec.Meta(ge=1)] = 30.0
        buffer: Annotated[Bytes, msgspec.Meta(le=1 << 20)] = 4096
        pauses: list[Duration] = []
        limit: Bytes | None = None

    source = Source("c.yaml")
    assert decode(node_of({}, source), Sweep) == Sweep()
    given_ = {"rescan": "1m", "buffer": "64Ki", "pauses": ["1s", "2s"], "limit": "1Gi"}
    assert decode(node_of(given_, source), Sweep) == Sweep(60.0, 65536, [1.0, 2.0], 1 << 30)
