import pytest
from holdfast.node.proc.pressure import Pressure, parse_pressure, read_pressure

TEXT = b"some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\nfull avg10=0.00 avg60=0.13 avg300=0.96 total=57\n"


def test_both_lines_are_read_and_the_total_is_seconds():
    assert parse_pressure("memory", TEXT) == (
        Pressure("memory", False, 0.22, 58.761459),
        Pressure("memory", True, 0.0, 0.000057),
    )


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "some",
        "some avg10=1",
        "other avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        "some x=y z",
        "some avg10=1.00 avg60=x",
    ],
)
def test_another_shape_is_passed_over(text):
    assert parse_pressure("cpu", f"{text}\n".encode()) == ()


def test_files_that_are_not_there_are_no_pressure(tmp_path):
    assert read_pressure(str(tmp_path)) == ()
    (tmp_path / "memory").write_bytes(TEXT)
    (tmp_path / "cpu.pressure").write_bytes(TEXT)
    assert [p.resource for p in read_pressure(str(tmp_path))] == ["memory", "memory"]
    assert [p.resource for p in read_pressure(str(tmp_path), of_group=True)] == ["cpu", "cpu"]
