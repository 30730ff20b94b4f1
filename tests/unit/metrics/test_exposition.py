from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys

import pytest
from holdfast.inert import valid
from holdfast.metrics import Counter, Distribution, Gauge, Histogram, Registry, process
from holdfast.rpc import Counters, MethodType
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.needs import path_of, peer

_LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
_PAIR = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')


def read_back(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Return a scraper's reading of the lines that are no comments (expfmt's rules, in twenty lines)."""
    found = []
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        inside, labels, at = match[2] or "", {}, 0
        while at < len(inside):
            pair = _PAIR.match(inside, at)
            assert pair is not None, line
            labels[pair[1]] = re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), pair[2])
            at = pair.end()
        found.append((match[1], labels, float(match[3])))
    return found


def printed(*families) -> str:
    registry = Registry()
    registry.add(*families)
    return registry.text().decode()


def test_families_are_printed_by_name_with_their_two_comment_lines():
    counter, gauge = Counter("b_total", "Bees."), Gauge("a", "An\nA\\")
    counter.inc()
    gauge.set(2.5)
    assert printed(counter, gauge) == (
        "# HELP a An\\nA\\\\\n# TYPE a gauge\na 2.5\n# HELP b_total Bees.\n# TYPE b_total counter\nb_total 1\n"
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value_is_read_back_as_it_was(first, second):
    counter = Counter("a_total", "A.", ["x", "y"])
    counter.inc(first, second)
    expected = [valid(first), valid(second)]
    assert read_back(printed(counter)) == [("a_total", dict(zip("xy", expected, strict=True)), 1.0)]


@given(st.text(max_size=30), st.lists(st.floats(0, 100), max_size=20))
def test_a_histogram_is_cumulative_whatever_its_labels_are_called(label, values):
    histogram = Histogram("h", "H.", ["x"], bounds=(1, 10.5))
    slot = histogram.labels(label)
    for value in values:
        slot.observe(value)
    lines = read_back(printed(histogram))
    shown = valid(label)
    assert [(name, labels.get("le")) for name, labels, _ in lines] == [
        ("h_bucket", "1"), ("h_bucket", "10.5"), ("h_bucket", "+Inf"), ("h_sum", None), ("h_count", None),
    ]  # fmt: skip
    assert {labels["x"] for _, labels, _ in lines} == {shown}
    below = [sum(value <= bound for value in values) for bound in (1, 10.5, math.inf)]
    assert [value for _, _, value in lines] == [*below, pytest.approx(sum(values)), len(values)]


@given(st.floats(allow_nan=False) | st.integers(-(2**63), 2**63))
def test_any_number_is_read_back_as_it_was(value):
    gauge = Gauge("g", "G.")
    gauge.set(value)
    assert read_back(printed(gauge)) == [("g", {}, float(value))]


def test_what_is_no_number_is_spelled_as_go_spells_it():
    gauge = Gauge("g", "G.", ["x"])
    for name, value in {"nan": math.nan, "up": math.inf, "down": -math.inf}.items():
        gauge.set(value, name)
    assert [line.rsplit(" ", 1)[1] for line in printed(gauge).splitlines()[2:]] == ["NaN", "+Inf", "-Inf"]


def test_a_family_without_labels_shows_its_zero_and_one_with_labels_nothing():
    assert printed(Counter("a_total", "A.")).endswith("a_total 0\n")
    assert printed(Counter("a_total", "A.", ["x"])).endswith("# TYPE a_total counter\n")


def test_what_is_forgotten_is_no_longer_shown():
    counter = Counter("a_total", "A.", ["x"])
    for name in "abc":
        counter.inc(name)
    counter.forget("b")
    assert [labels["x"] for _, labels, _ in read_back(printed(counter))] == ["a", "c"]


def test_a_name_is_registered_once_and_a_refused_group_leaves_nothing_behind():
    registry = Registry()
    registry.add(Counter("a_total", "A."))
    with pytest.raises(ValueError, match="a_total"):
        registry.add(Counter("b_total", "B."), Counter("a_total", "A."))
    with pytest.raises(ValueError, match="c_total"):
        registry.add(Counter("c_total", "C."), Counter("c_total", "C."))
    assert registry.text() == b"# HELP a_total A.\n# TYPE a_total counter\na_total 0\n"


def test_removing_a_family_leaves_another_of_its_name():
    registry, mine, theirs = Registry(), Counter("a_total", "A."), Counter("a_total", "A.")
    registry.add(mine)
    registry.remove(theirs)
    assert b"a_total" in registry.text()
    registry.remove(mine)
    assert registry.text() == b""


def test_values_kept_elsewhere_are_asked_for_at_each_scrape():
    now = {"a": 1.0}
    gauge = Gauge("g", "G.", ["x"], read=lambda: [((name,), value) for name, value in now.items()])
    registry = Registry()
    registry.add(gauge)
    first = read_back(registry.text().decode())
    now["b"] = 2
    assert (first, read_back(registry.text().decode())) == (
        [("g", {"x": "a"}, 1.0)],
        [("g", {"x": "a"}, 1.0), ("g", {"x": "b"}, 2.0)],
    )


def test_a_family_that_cannot_be_read_leaves_the_others(caplog):
    def broken():
        yield ("one",), 1.0
        raise OSError("gone")

    text = printed(Gauge("a", "A.", ["x"], read=broken), Counter("b_total", "B."))
    assert text == "# HELP b_total B.\n# TYPE b_total counter\nb_total 0\n"
    assert [record.fields["name"] for record in caplog.records] == ["a"]


def test_a_collector_of_ones_own_needs_only_to_write():
    class Own:
        name, help_text, kind = "own", "Own.", "gauge"

        def write(self, lines):
            lines.append("own 3\n")

    assert printed(Own()) == "# HELP own Own.\n# TYPE own gauge\nown 3\n"


@pytest.mark.skipif(importlib.util.find_spec("prometheus_client") is None, reason="needs the extra metrics")
def test_a_plugins_prometheus_client_is_printed_after_ours_and_never_twice():
    program = """
import prometheus_client
from holdfast.metrics import Registry
from holdfast.metrics.process import families
prometheus_client.Counter("plugins_own", "Own.").inc()
registry = Registry()
registry.add(*families())
text = registry.text().decode()
names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
assert len(names) == len(set(names)), sorted(names)
assert "plugins_own_total 1.0" in text
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env={"PYTHONPATH": "service"}
    )
    assert done.returncode == 0, done.stderr


@peer("promtool")
def test_promtool_finds_nothing_to_say():
    registry, counters = Registry(), Counters(histogram=True)
    counters.method("/a.v1.B/Get", MethodType.SERVER_STREAM).seconds.observe(0.1)
    counters.add_to(registry)
    registry.add(*process.families())
    odd = Counter("odd_total", 'Back\\slash and "quotes"\nand a new line.', ["x"])
    odd.inc('a\\b"c\nd')
    registry.add(odd)
    command = [path_of("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=registry.text(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_names_of_any_bytes_are_labels_and_two_names_stay_two():
    counter = Counter("kills_total", "Kills.", ("cgroup",))
    for raw in (b"/a\xff", b"/a\xfe", "/a\u202e".encode()):
        counter.inc(raw.decode(errors="surrogateescape"))
    registry = Registry()
    registry.add(counter)
    page = registry.text().decode()
    assert [labels["cgroup"] for _, labels, _ in read_back(page)] == ["/a\\xff", "/a\\xfe", "/a\u202e"]


def test_openmetrics_is_what_its_own_parser_reads():
    counter, odd, gauge = Counter("a_total", 'A "quoted".', ["x"]), Counter("b", "B."), Gauge("c", "C.")
    seconds = Histogram("d_seconds", "D.", ["le_x"], bounds=(0.5, 1, 2.5))
    counter.inc('y"\\\n')
    gauge.set(-1.5)
    seconds.observe(0.7, 'le="1"')
    seconds.labels('le="1"').show(0.7, "0" * 31 + "a", 1700000000.5)
    registry = Registry()
    registry.add(counter, odd, gauge, seconds)
    page = registry.text(openmetrics=True).decode()
    found = {family.name: family for family in text_string_to_metric_families(page)}
    assert {name: (one.type, one.documentation) for name, one in found.items()} == {
        "a": ("counter", 'A "quoted".'),
        "b": ("unknown", "B."),
        "c": ("gauge", "C."),
        "d_seconds": ("histogram", "D."),
    }
    assert [(one.name, one.labels, one.value) for one in found["a"].samples] == [("a_total", {"x": 'y"\\\n'}, 1)]
    buckets = [one for one in found["d_seconds"].samples if one.name.endswith("_bucket")]
    assert [one.labels for one in buckets] == [{"le_x": 'le="1"', "le": le} for le in ("0.5", "1.0", "2.5", "+Inf")]
    assert page.endswith("\n# EOF\n")


def test_only_openmetrics_has_the_exemplar_and_the_newest_of_a_bucket():
    distribution, lines, plain = Distribution((1.0,)), [], []
    for value, trace in ((0.5, "a"), (0.25, "b"), (3, "c")):
        distribution.observe(value)
        distribution.show(value, trace, 17.0)
    distribution.write("x", "", lines, openmetrics=True)
    assert lines[:2] == [
        'x_bucket{le="1"} 2 # {trace_id="b"} 0.25 17.000\n',
        'x_bucket{le="+Inf"} 3 # {trace_id="c"} 3 17.000\n',
    ]
    distribution.write("x", "", plain)
    assert not any("#" in line for line in plain)
