import pytest
from holdfast.identifiers import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-999", -999), ("00042", 42), ("9" * 18, 10**18 - 1)])
def test_ascii_digits_are_a_number(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "-", "+1", " 1", "1 ", "1\n", "1_0", "٥٠٠", "²", "१", "0x1", "1.0", "9" * 19])
def test_whatever_else_int_takes_is_none(text):
    assert whole_number(text) is None
