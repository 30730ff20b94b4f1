from typing import Annotated, Literal

import msgspec
import pytest
from holdfast.config.describe import HIDDEN, as_written, expected, hidden, info_of, keys_of, takes_none
from holdfast.config.quantity import Bytes, Duration
from msgspec import Meta


class Item(msgspec.Struct, frozen=True):
    size: Annotated[Bytes, Meta(description="how much", examples=["1Gi"])] = 1 << 20
    names: tuple[str, ...] = ("a",)


class Whole(msgspec.Struct, frozen=True):
    item: Item = Item()
    items: list[Item] = []
    table: dict[str, Duration] = {}
    either: Item | int | None = None


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (int, "an integer"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "a string"),
        (str | None, "a string"),
        (int | str, "an integer or a string"),
        (Annotated[int, Meta(ge=0)], "an integer of at least 0"),
        (Annotated[int, Meta(le=5)], "an integer of at most 5"),
        (Annotated[float, Meta(ge=0, le=1)], "a number between 0 and 1"),
        (Annotated[int, Meta(ge=2, le=2)], "2"),
        (Annotated[Duration, Meta(ge=0)], 'a duration such as "30s" or "1h2m"'),
        (Annotated[Duration, Meta(ge=1, le=60)], 'a duration such as "30s" or "1h2m" between 1s and 1m'),
        (Literal["b", "a", "c"], '"a", "b" or "c"'),
        (list[str], "a list of strings"),
        (Annotated[tuple[str, ...], Meta(min_length=1)], "a list of strings, not empty"),
        (list[Item], "a list of mappings"),
        (dict[str, int], "a mapping"),
        (Item, "a mapping"),
        (bytes, "another value"),
    ],
)
def test_a_type_is_said_in_words(type_, words):
    assert expected(info_of(type_)) == words


def test_only_a_type_with_none_takes_null():
    assert [takes_none(info_of(type_)) for type_ in (int, int | None, Annotated[int | None, Meta()])] == [
        False,
        True,
        True,
    ]


def test_the_keys_of_nested_structs_follow_their_section():
    rows = [(".".join(map(str, key.path)), key.section) for key in keys_of(Whole)]
    assert rows == [
        ("item", True),
        ("item.size", False),
        ("item.names", False),
        ("items", False),
        ("items.[].size", False),
        ("items.[].names", False),
        ("table", False),
        ("either", False),
        ("either.size", False),
        ("either.names", False),
    ]


def test_a_row_has_default_unit_range_and_examples_as_written():
    row = next(key for key in keys_of(Item) if key.path == ("size",))
    assert (row.default, row.unit, row.range, row.description, row.examples) == (
        "1Mi",
        "bytes",
        "",
        "how much",
        ["1Gi"],
    )


def test_a_value_is_written_as_a_file_would_hold_it():
    whole = Whole(Item(5), [Item(2048, ())], {"a": 90.0}, 7)
    assert as_written(whole, info_of(Whole)) == {
        "item": {"size": 5, "names": ["a"]},
        "items": [{"size": "2Ki", "names": []}],
        "table": {"a": "1m30s"},
        "either": 7,
    }


Secret = Annotated[str, Meta(extra={"secret": True})]


class Account(msgspec.Struct, frozen=True):
    name: str = ""
    password: Secret = ""


class Accounts(msgspec.Struct, frozen=True):
    one: Account = Account()
    more: tuple[Account, ...] = ()
    by_name: dict[str, Account] = {}
    tokens: Annotated[tuple[str, ...], Meta(extra={"secret": True})] = ()
    maybe: Secret | None = None
    each: tuple[Secret, ...] = ()


def test_secrets_are_hidden_wherever_they_are_and_nothing_else_is():
    full = Account("me", "hunter2")
    made = as_written(Accounts(full, (full,), {"x": full}, ("hunter2",), "hunter2", ("hunter2",)), info_of(Accounts))
    shown = {"name": "me", "password": HIDDEN}
    assert hidden(made, info_of(Accounts)) == {
        "one": shown,
        "more": [shown],
        "by_name": {"x": shown},
        "tokens": HIDDEN,
        "maybe": HIDDEN,
        "each": [HIDDEN],
    }


def test_a_secret_that_is_not_set_is_shown_as_such():
    empty = as_written(Accounts(), info_of(Accounts))
    assert hidden(empty, info_of(Accounts)) == {**empty, "tokens": HIDDEN}
