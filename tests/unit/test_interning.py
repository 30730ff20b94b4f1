from holdfast.interning import LONGEST, Interned


def made(text: str) -> str:
    """An object of its own, as text from a file is."""
    return bytes(text, "ascii").decode()


def test_equal_texts_are_one_object():
    interned = Interned()
    first = interned(made("postgres"))
    assert interned(made("postgres")) is first


def test_no_more_than_so_many_are_known_however_many_there_are():
    interned = Interned(most=10)
    assert [interned(f"name-{number}") for number in range(1000)] == [f"name-{number}" for number in range(1000)]
    assert len(interned) <= 10


def test_long_texts_are_not_kept():
    interned = Interned()
    assert interned("x" * (LONGEST + 1)) == "x" * (LONGEST + 1)
    assert len(interned) == 0
