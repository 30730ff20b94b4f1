"""Text of any characters does nothing wherever it is printed: tables, top, explain, events, JSON, logs."""

from __future__ import annotations

import inspect
import io
import json
import logging
import unicodedata
from collections import deque
from contextlib import redirect_stdout

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast import log
from holdfast.api.bundle.v1 import bundle_pb2
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.services.introspection.v1 import introspection_pb2
from holdfast.api.types.event_pb2 import Envelope
from holdfast.cli import bundle, events, placement, plugins, ps, rules, victims, view
from holdfast.cli.client import DaemonClient
from holdfast.cli.listing import Shown
from holdfast.inert import inert, is_inert, json_document, valid, valid_in
from hypothesis import given, settings
from hypothesis import strategies as st

#: What does more than show itself: controls, direction, no width, separators, half characters, a library's markup.
ACTIVE = (
    "\x1b[2J", "\x1b]0;x\x07", "\r", "\n", "\t", "\b", "\x7f", "\x85", "\x9b31m", "\u061c", "\u200b", "\u200e",
    "\u200f",
    "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\u00ad", "\u3164", "\ufe0f", "\U000e0041",
)  # fmt: skip
NAMES = st.lists(
    st.one_of(st.sampled_from((*ACTIVE, "[/x]", "[red]", ":smile:", "\nHELD 1", "a", "é")), st.text(max_size=3)),
    max_size=4,
).map("".join)
SENT = NAMES.map(valid)  # what a protobuf string can hold


def is_quiet(text):
    """Nothing but lines of characters that show themselves; said without the code under test."""
    return all(character in "\n " or unicodedata.category(character)[0] not in "CZ" for character in text) and not set(
        text
    ) & {"\u3164", "\ufe0f"}


@given(NAMES)
def test_what_people_see_is_one_quiet_line_and_plain_text_stays_as_it_is(text):
    shown = inert(text)
    assert is_quiet(shown)
    assert "\n" not in shown
    assert inert(shown) == shown
    if all(map(is_inert, text)):
        assert shown == text


@pytest.mark.parametrize("active", ACTIVE)
def test_every_active_character_is_escaped(active):
    assert inert(active).startswith("\\") or inert(active)[0] in "\x20["
    assert is_quiet(inert(active))
    assert is_quiet(json_document({active: active}))


@given(NAMES)
def test_json_is_quiet_and_means_what_it_meant(text):
    for indent in (None, 2):
        document = json_document({text: [text]}, indent=indent)
        assert is_quiet(document)
        assert json.loads(document) == {valid(text): [valid(text)]}


@given(NAMES)
def test_what_is_sent_is_utf8_and_changes_nothing_else(text):
    assert valid(text).encode().decode() == valid(text)
    assert valid_in({text: (text, [text], 1, None)}) == {valid(text): [valid(text), [valid(text)], 1, None]}
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert valid(text) == text


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=NAMES)
def test_a_log_line_is_one_quiet_line_whatever_its_values_hold(form, text):
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)
    record.fields = {"name": text, "paths": [text], "error": ValueError(text)}
    line = (log.Json() if form == "json" else log.Logfmt()).format(record)
    assert is_quiet(line)
    assert "\n" not in line
    if form == "json":
        assert json.loads(line)["name"] == valid(text)


def filled(draw, message: Message, depth: int = 0) -> Message:
    """``message`` with a hostile text in every field that takes text."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_STRING:
            text = draw(SENT)
            value.extend([text]) if field.is_repeated else setattr(message, field.name, text)
        elif field.message_type is None or depth > 4:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
                value[draw(SENT)] = draw(SENT)
            elif field.message_type.fields_by_name["value"].message_type is None:
                value[draw(SENT)] = 1
        elif field.message_type.full_name.startswith("google.protobuf."):
            if isinstance(value, Timestamp):
                value.FromSeconds(1_700_000_000)
        else:
            filled(draw, value.add() if field.is_repeated else value, depth + 1)
    return message


class Asked:
    """A client whose daemon answers with one message."""

    for_programs, output = False, "table"

    def __init__(self, answer):
        self.answer = answer

    emitted, print_document = DaemonClient.emitted, DaemonClient.print_document

    def stub(self, kind):
        return self

    def __getattr__(self, name):
        return name

    def ask(self, method, request):
        return self.answer

    def stream(self, method, request):
        yield self.answer


def seen(draw):
    return view.Seen(
        filled(draw, pb.StatusResponse()),
        filled(draw, pb.ListRulesResponse()),
        filled(draw, pb.VictimsResponse(page_bytes=4096)),
        filled(draw, pb.ListPlacementsResponse()),
        deque([filled(draw, pb.Report(pid=7))]),
    )


COMMANDS = {
    "ps": (
        ps.ps,
        pb.ListPlacementsResponse,
        {"rule": "", "states": (), "namespace": "", "pod": "", "shown": Shown()},
    ),
    "explain": (placement.explain, pb.ExplainResponse, {"pid": 7}),
    "preview": (placement.preview, pb.PreviewResponse, {"rule": "", "path": None}),
    "hold": (placement.hold, pb.PlacementInfo, {"pid": 7, "oom_score_adj": 1, "ttl": "1h", "reason": ""}),
    "release": (placement.release, pb.ReleaseResponse, {"pid": 7}),
    "restore": (placement.restore, pb.RestoreResponse, {"rule": "", "pid": None}),
    "victims": (victims.victims, pb.VictimsResponse, {"cgroup": "", "limit": 5}),
    "kills": (victims.kills, pb.KillsResponse, {"pid": None, "limit": 5, "shown": Shown()}),
    "events": (events.events, Envelope, {"filters": ()}),
    "bundle ls": (bundle.ls, bundle_pb2.ListResponse, {}),
    "plugins ls": (plugins.ls, introspection_pb2.PluginsResponse, {"filters": (), "detailed": False, "quiet": False}),
    "plugins ls -d": (plugins.ls, introspection_pb2.PluginsResponse, {"filters": (), "detailed": True, "quiet": False}),
    "plugins ls -q": (plugins.ls, introspection_pb2.PluginsResponse, {"filters": (), "detailed": False, "quiet": True}),
}


def run(command, client, given):
    extra = {"everything": True} if command is plugins.ls else {}
    return inspect.unwrap(command.callback)(client, **given, **extra)


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=15)
@given(data=st.data())
def test_no_answer_of_a_daemon_drives_the_terminal_or_begins_a_row(name, output, data):
    command, kind, arguments = COMMANDS[name]
    client = Asked(filled(data.draw, kind()))
    client.for_programs, client.output = output in ("json", "yaml"), output
    with redirect_stdout(io.StringIO()) as out:
        run(command, client, arguments)
    assert is_quiet(out.getvalue())
    assert not any(line.startswith("HELD 1") for line in out.getvalue().split("\n"))


@settings(max_examples=30)
@given(data=st.data())
def test_names_do_nothing_in_top(data):
    found = seen(data.draw)
    lines = view.printed(found, 60)
    for tab in range(len(view.TABS)):
        frame = view.View(tab=tab, filter="").lines(found, 80, 24)
        assert len(frame) == 24
        lines += frame
    assert all(is_quiet(line) and "\n" not in line for line in lines)


def test_the_list_of_rules_is_quiet(monkeypatch):
    answer = pb.ListRulesResponse(rules=[pb.RuleInfo(name="a\x1b[2J", reason="b\nHELD 1\u202e")])
    monkeypatch.setattr(rules.click, "get_current_context", lambda: type("C", (), {"invoked_subcommand": None}))
    with redirect_stdout(io.StringIO()) as out:
        inspect.unwrap(rules.rules.callback)(Asked(answer), Shown())
    assert is_quiet(out.getvalue())
