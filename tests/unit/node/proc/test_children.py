"""The children of a process, as the kernel lists them."""

from __future__ import annotations

import errno
import os

import pytest
from holdfast.errors import KernelRefused
from holdfast.node.proc.children import children_of


@pytest.fixture
def root(tmp_path):
    for thread, children in (("7", "8 9 "), ("70", "71 ")):
        (tmp_path / "7/task" / thread).mkdir(parents=True)
        (tmp_path / "7/task" / thread / "children").write_text(children)
    return str(tmp_path)


def test_those_of_all_threads_are_found(root):
    assert sorted(children_of(root, 7)) == [8, 9, 71]


def test_a_process_that_is_gone_has_none(root):
    assert list(children_of(root, 8)) == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_a_descriptor_it_is_not_known_whether_there_are_any(root, monkeypatch, number):
    def refuses(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "listdir", refuses)
    with pytest.raises(KernelRefused):
        list(children_of(root, 7))
