import pytest
from holdfast.errors import InvalidArgument
from holdfast.filters import EVERYTHING, parse_all
from holdfast.filters.match import MAX_TEXT


class Thing:
    def __init__(self, **fields):
        self.fields = fields

    def field(self, path):
        value = self.fields.get(".".join(path))
        return (value, True) if value is not None else ("", False)


THING = Thing(
    name="foo",
    odd="\udcff",
    other="too complex, yo",
    **{
        "labels.bar": "",
        "labels.a.b": "c",
        "labels.punctuated": "omg_asdf.asdf-qwer",
        'labels.with \\ and ".post': "present",
    },
)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ([], True),
        ([""], True),
        (["name==other", ""], True),
        (["name"], True),
        (["nothing"], False),
        (["labels.bar"], True),
        (["name==foo"], True),
        (["name==fo"], False),
        (['labels.bar==""'], True),
        (['nothing==""'], False),
        (["name!=foo"], False),
        (["nothing!=foo"], True),
        (['nothing!=""'], False),
        (["name~=^f"], True),
        (["name~=/^o/"], False),
        (["nothing~=^$"], True),
        (["name==foo,labels.bar"], True),
        (["name==foo,nothing"], False),
        (["nothing", "name==foo"], True),
        (["nothing", "name==other"], False),
        (['labels."a.b"==c'], True),
        (["labels.a.b==c"], True),
        (['other=="too complex, yo"'], True),
        (["other~=[xyz]+,name==foo"], True),
        (["other~=/[xyz]{1,2}/,name==foo"], True),
        ([r'other~=/[xyz]{0,1}"\//'], False),
        (["labels.punctuated==omg_asdf.asdf-qwer"], True),
        ([r'labels."with \\ and \"".post==present'], True),
        (["name==foo,labels.bar,other"], True),
        (["name==foo,labels.bar==wrong"], False),
        ([r'odd=="\xff"'], True),
    ],
)
def test_a_filter_means_what_it_means_in_containerd(filters, matches):
    assert parse_all(filters).match(THING) is matches


@pytest.mark.parametrize(
    ("filters", "everything"), [([], True), ([""], True), (["a", ""], True), (["a"], False), (["a", "b"], False)]
)
def test_a_filter_knows_when_nothing_needs_to_be_asked(filters, everything):
    assert parse_all(filters).matches_everything is everything


def test_everything_matches_anything():
    assert EVERYTHING.match(Thing())


def test_a_broken_expression_is_refused_at_once_with_the_reason():
    with pytest.raises(InvalidArgument) as refused:
        parse_all(["name==foo", "name~=|(a|"])
    assert str(refused.value) == (
        "filters: parse error: [name~=|(a|]: error parsing regexp: missing ): (a: invalid argument"
    )


def test_filters_that_would_cost_every_event_too_much_are_refused():
    assert parse_all(["a" * MAX_TEXT])
    with pytest.raises(InvalidArgument, match=r"65537 characters in all, at most 65536"):
        parse_all(["a" * MAX_TEXT, "b"])


def test_expressions_of_one_request_share_their_memory():
    assert parse_all([r"name~=\p{L}{10}"] * 8)
    with pytest.raises(InvalidArgument, match="pattern too large"):
        parse_all([r"name~=\p{L}{10}"] * 16)
    assert parse_all([f"name~=^{word}-[0-9a-f]+$" for word in range(300)])
