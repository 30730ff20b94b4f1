from holdfast.api.services.introspection.v1.introspection_pb2 import Plugin
from holdfast.cli.table import aligned, as_json, plain, show


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks():
    assert aligned([("A", "LONG"), ("bbb", "c")]) == "A      LONG\nbbb    c"


def test_no_rows_are_no_lines():
    assert aligned([]) == ""


def test_what_would_drive_a_terminal_is_shown_as_an_escape(capsys):
    show(["a\x1b[2Jb\nc\u202e é", "next"])
    assert capsys.readouterr().out == "a\\x1b[2Jb\\nc\\u202e é\nnext\n"


def test_json_has_the_protos_field_names_and_every_field():
    message = plain(Plugin(id="x", exports={"a": "b"}))
    assert message == {
        "type": "",
        "id": "x",
        "requires": [],
        "platforms": [],
        "exports": {"a": "b"},
        "capabilities": [],
    }
    assert as_json({"é": 1}, lines=True) == '{"é": 1}'
    assert as_json({"a": 1}) == '{\n  "a": 1\n}'
