"""Our filters beside real containerd's, on containerd's own list of plugins."""

import tempfile
from pathlib import Path

import grpc
import pytest
from holdfast.api.services.introspection.v1.introspection_pb2 import PluginsRequest
from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub
from holdfast.errors import InvalidArgument
from holdfast.filters import parse_all
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import peer
from tests.peers.daemon import containerd, write_config
from tests.running import PATIENCE_S

pytestmark = [peer("containerd"), pytest.mark.root]

GOOD = [
    [],
    [""],
    ["type"],
    ["nothing"],
    ["capabilities"],
    ["platforms"],
    ["type==io.containerd.grpc.v1"],
    ["type!=io.containerd.grpc.v1"],
    ["type==io.containerd.grpc.v1,id==version"],
    ["id==version", "id==nosuch", "type==io.containerd.event.v1"],
    ["id==version", ""],
    ["id==version, type"],
    ["  id  ==  version"],
    ['"id"==version'],
    ['id=="version"'],
    [r'id=="\x76ersion"'],
    [r'id=="\166ersion"'],
    [r'id=="\u0076ersion"'],
    ["id.x==version"],
    ["nothing!=x"],
    ['nothing!=""'],
    ['nothing==""'],
    ["nothing~=x*"],
    ["nothing~=^$"],
    ["id~=er"],
    ["id~=^[a-c]"],
    ["id~=/^v.*n$/"],
    ["id~=|^v.*n$|"],
    ["id~=(?i)VERSION|BOLT"],
    [r"id~=\w+-service"],
    [r"id~=/\\w+-service/"],
    ["id~=^.{5}$"],
    [r"id~=[[:upper:]]"],
    [r"id~=\pN"],
    [r"id~=^\p{Ll}+$"],
    [r"type~=\bgrpc\b,id!=cri"],
    ["type~=v[[:digit:]]$", "id==nosuch"],
    ["id==größe"],
    ["id==\x01"],
    ["id==version'"],
]

BAD = [
    ["bad=="],
    [" "],
    ["a."],
    ["a,"],
    [",a"],
    ["'a'==b"],
    ["a b"],
    ["a "],
    ["a .b"],
    ['a "x"==b'],
    ['a "x'],
    ["a=b"],
    ["a===b"],
    ["a!~b"],
    ["a==,b"],
    ["a==.b"],
    ["a== ==b"],
    ["a==b c"],
    ['a=="b"c'],
    ["a==b\0"],
    ["a\0"],
    ["a==/b/"],
    ["a!=|b|"],
    ["/a/==b"],
    ['"a'],
    ['a=="b\nc"'],
    ['a=="\0"'],
    [r'a=="\q"'],
    [r"a~=/\d/"],
    ['a=="\\'],
    [r'a=="\x4"'],
    [r'a=="\08"'],
    [r'a=="\777"'],
    [r'a=="\U00110000"'],
    [r'a=="\q\x4"'],
    ["id==version", "bad=="],
]


class Listed:
    def __init__(self, plugin):
        self.plugin = plugin

    def field(self, path):
        value = {"type": self.plugin.type, "id": self.plugin.id}.get(path[0], "")
        return value, bool(value)


@pytest.fixture(scope="module")
def plugins():
    """Asks real containerd for its plugins."""
    with (
        tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as name,
        containerd(Path(name), write_config(Path(name))) as daemon,
        grpc.insecure_channel(f"unix:{daemon.ready().address}") as channel,
    ):
        stub = IntrospectionStub(channel)
        yield lambda filters: list(stub.Plugins(PluginsRequest(filters=filters), timeout=PATIENCE_S).plugins)


@pytest.mark.parametrize("filters", GOOD, ids=repr)
def test_a_filter_finds_the_same_plugins(plugins, filters):
    ours = parse_all(filters)
    expected = [plugin for plugin in plugins([]) if ours.match(Listed(plugin))]
    assert [f"{plugin.type}.{plugin.id}" for plugin in expected] == [
        f"{plugin.type}.{plugin.id}" for plugin in plugins(filters)
    ]


@pytest.mark.parametrize("filters", BAD, ids=repr)
def test_a_bad_filter_is_refused_in_the_same_words(plugins, filters):
    with pytest.raises(InvalidArgument) as ours:
        parse_all(filters)
    with pytest.raises(grpc.RpcError) as theirs:
        plugins(filters)
    assert theirs.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # its Plugins handler adds the word a second time; the others do not
    assert str(ours.value) == theirs.value.details().removesuffix(": invalid argument")


@pytest.mark.parametrize("text", ["é=x", "a==b\u2003c", "a\ufffd", "a==b\ufffd", "a==x,é"])
def test_a_marked_character_outside_ascii_stays_whole_in_ours_and_all_else_is_the_same(plugins, text):
    with pytest.raises(InvalidArgument) as ours:
        parse_all([text])
    with pytest.raises(grpc.RpcError) as theirs:
        plugins([text])
    before, _, why = str(ours.value).replace(" >|", "]: ").split("]: ")
    marked, _, their_why = theirs.value.details().removesuffix(": invalid argument").replace(" >|", "]: ").split("]: ")
    assert (before, why) == (marked, their_why)


@pytest.mark.parametrize("expression", ["((", "[", r"\p{Nothing}", "a**", r"\1"])
def test_where_containerd_answers_a_broken_expression_with_nothing_ours_says_why(plugins, expression):
    assert plugins([f"id~=|{expression}|".replace("\\", "\\\\")]) == []
    with pytest.raises(InvalidArgument, match="error parsing regexp"):
        parse_all([f"id~=|{expression}|".replace("\\", "\\\\")])


PIECES = [
    *("c", "e", "o", "n", "t", "i", "v", "1", "-", "grpc", "T", "(?i)", "(?i:E)", "[a-e]", "[^a-e]", "[[:alpha:]-]"),
    *(".", ".*", "*", "+", "?", "{2}", "{1,2}", "{,2}", "(", ")", "(?:", "|", "^", "$", r"\b", r"\B", r"\A", r"\z"),
    *(r"\d", r"\w", r"\W", r"\S", r"\pL", r"\P{Ll}", r"\x63", r"\x{65}", r"\145", r"\Qe\E", r"\.", "(?s).", "(?P<n>o)"),
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_expression_finds_the_same_plugins(plugins, expression):
    quoted = "".join(f"\\U{ord(character):08x}" for character in expression)
    try:
        ours = parse_all([f'id~="{quoted}"'])
    except InvalidArgument:
        expected = []  # what containerd answers to what Go cannot compile
    else:
        expected = [plugin.id for plugin in plugins([]) if ours.match(Listed(plugin))]
    assert [plugin.id for plugin in plugins([f'id~="{quoted}"'])] == expected
