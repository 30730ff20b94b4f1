from __future__ import annotations

import pytest
from holdfast.store.content import Info, IngestStatus

LABELS = {"foo": "bar", "foo.bar.qux": "quux"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([], ("", False)),
        (["digest"], ("sha256:1", True)),
        (["size"], ("", False)),
        (["labels", "foo"], ("bar", True)),
        (["labels", "foo", "bar", "qux"], ("quux", True)),
        (["labels", "qux"], ("", False)),
    ],
)
def test_a_filter_may_ask_a_blob_for_its_digest_and_labels(path, expected):
    assert Info("sha256:1", 5, LABELS).field(path) == expected


@pytest.mark.parametrize(("path", "expected"), [(["ref"], ("r", True)), (["offset"], ("", False)), ([], ("", False))])
def test_a_filter_may_ask_an_ingest_for_its_ref(path, expected):
    assert IngestStatus("r").field(path) == expected
