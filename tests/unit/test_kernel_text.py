"""The one reader of kernel text, and the rule that nothing else cuts such text."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from unittest.mock import patch

import holdfast
import pytest
from holdfast import kernel_text
from holdfast.errors import KernelRefused, UnknownKernelText
from hypothesis import given
from hypothesis import strategies as st

PACKAGE = Path(holdfast.__file__).parent
#: Modules that cut text of people or of our own protocols into lines, and why no name of a process is in it.
MAY_CUT_LINES: dict[str, str] = {}


def sources():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith("api/"):
            yield name, path.read_text("utf-8")


def test_nothing_cuts_text_at_what_a_name_may_hold():
    cutting = {name for name, text in sources() if re.search(r"splitlines\s*\(", text)}
    assert cutting == set(MAY_CUT_LINES), "kernel_text.lines, or split('\\n'), cuts at newlines alone"


def test_no_file_of_the_kernel_is_opened_as_text():
    opened = [
        (name, line.strip())
        for name, text in sources()
        for line in text.split("\n")
        if re.search(r"\bopen\(f?\"[^\"]*(?:proc|cgroup)", line) and '"wb' not in line and '"rb' not in line
    ]
    assert opened == []


@given(st.binary())
def test_decoding_and_encoding_are_inverses(raw):
    assert kernel_text.encode(kernel_text.decode(raw)) == raw
    assert kernel_text.shared(raw) == kernel_text.decode(raw)


@given(st.text())
def test_any_text_at_all_can_be_encoded(text):
    kernel_text.encode(text)


@given(st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")), max_size=9), st.integers(1, 7))
def test_a_file_of_lines_is_cut_as_the_whole_text_is(tmp_path_factory, lines, chunk):
    path = tmp_path_factory.mktemp("lines") / "mountinfo"
    path.write_bytes(b"\n".join(lines))
    with patch.object(kernel_text, "_CHUNK", chunk):
        assert list(kernel_text.each_line(str(path))) == kernel_text.lines(path.read_bytes())


def test_a_file_of_lines_may_be_of_any_length_and_a_line_may_not(tmp_path):
    path = tmp_path / "mountinfo"
    line = b"29 1 254:1 / /" + b"x" * 4000
    path.write_bytes((line + b"\n") * 1000)
    assert list(kernel_text.each_line(str(path))) == [line] * 1000
    path.write_bytes(b"x" * (2 * kernel_text.MOST_BYTES))
    with pytest.raises(UnknownKernelText, match="a line is longer"):
        list(kernel_text.each_line(str(path)))


@given(st.lists(st.binary().map(lambda raw: raw.replace(b"\n", b""))))
def test_lines_are_cut_at_newlines_alone(lines):
    assert kernel_text.lines(b"".join(line + b"\n" for line in lines)) == lines
    if lines and lines[-1]:
        assert kernel_text.lines(b"\n".join(lines)) == lines, "the last newline may be missing"


def test_equal_names_are_one_object_and_the_memory_for_it_is_bounded():
    assert kernel_text.shared(b"a\xff" + bytes(1)) is kernel_text.shared(b"a\xff" + bytes(1))
    for number in range(20_000):
        kernel_text.shared(b"%d" % number)
    assert len(kernel_text.shared) <= 4096
    assert kernel_text.shared(b"x" * 5000) is not kernel_text.shared(b"x" * 5000), "long names are not kept"


def test_a_file_that_comes_in_pieces_is_read_to_its_end():
    reader, writer = os.pipe()

    def write():
        for _ in range(1000):
            os.write(writer, b"x" * 100)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert kernel_text.read_open(reader, "a pipe") == b"x" * 100_000
    finally:
        thread.join()
        os.close(reader)


@pytest.mark.parametrize("size", [0, 1, *(page + beside for page in (4096, 16384, 65536) for beside in (-1, 0, 1))])
def test_a_record_is_read_whole_whatever_its_size(tmp_path, size):
    (tmp_path / "cgroup").write_bytes(b"y" * size)
    descriptor = os.open(tmp_path / "cgroup", os.O_RDONLY)
    try:
        assert kernel_text.read_record(descriptor, "cgroup") == b"y" * size
    finally:
        os.close(descriptor)


def test_a_text_beyond_the_bound_is_refused_and_counted(tmp_path):
    (tmp_path / "endless").write_bytes(bytes(kernel_text.MOST_BYTES + 1))
    before = kernel_text.refused["too_long"]
    with pytest.raises(UnknownKernelText, match=r"endless: it is longer than \d+ bytes"):
        kernel_text.read(str(tmp_path / "endless"))
    assert kernel_text.refused["too_long"] == before + 1


def test_a_file_that_is_not_there_is_refused_by_the_kernel(tmp_path):
    with pytest.raises(KernelRefused, match="no such file"):
        kernel_text.read(str(tmp_path / "none"))
