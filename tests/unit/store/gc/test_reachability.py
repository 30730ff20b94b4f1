from __future__ import annotations

import pytest
from holdfast.store.gc.reachability import Item, ObjectKind, StoredObject, expiry, reachable

NOW = 1_800_000_000_000_000_000
PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


def node(text: str) -> StoredObject:
    """``content:a`` in namespace ns, ``other/content:a`` elsewhere."""
    path, _, key = text.partition(":")
    namespace, _, kind = path.rpartition("/")
    return StoredObject(ObjectKind[kind.upper()], namespace or "ns", key)


def item(text: str, *needs: str, expires_at: int | None = None, **labels: str) -> Item:
    """Labels: ``ref_content_x`` for ``containerd.io/gc.ref.content.x``; two underscores are a slash."""
    named = {f"containerd.io/gc.{k.replace('__', '/').replace('_', '.')}": v for k, v in labels.items()}
    return Item(node(text), named, tuple(map(node, needs)), expires_at)


def needed(*items: Item) -> set[str]:
    found = reachable(items, NOW) & {one.node for one in items}
    return {f"{one.kind.name.lower()}:{one.key}" for one in found if one.namespace == "ns"}


@pytest.mark.parametrize(
    ("items", "kept"),
    [
        ([item("content:a")], set()),
        ([item("content:a", root="x")], {"content:a"}),
        ([item("content:a", root="")], {"content:a"}),
        ([item("image:i", "content:a"), item("content:a"), item("content:b")], {"image:i", "content:a"}),
        (
            [item("image:i", "content:a"), item("content:a", ref_content_0="b"), item("content:b", ref_content="c"),
             item("content:c")],
            {"image:i", "content:a", "content:b", "content:c"},
        ),
        ([item("content:a", root="1", ref_content__l="b"), item("content:b")], {"content:a", "content:b"}),
        ([item("content:a", root="1", ref_contents="b"), item("content:b")], {"content:a"}),
        ([item("content:a", root="1", ref_content="a")], {"content:a"}),
        ([item("content:a", ref_content="b"), item("content:b", ref_content="a")], set()),
        ([item("content:a", root="1", ref_content="b"), item("other/content:b")], {"content:a"}),
        ([item("lease:l", "content:a"), item("content:a", ref_content="b"), item("content:b")],
         {"lease:l", "content:a", "content:b"}),
        ([item("lease:l", "content:a", flat="1"), item("content:a", ref_content="b"), item("content:b")],
         {"lease:l", "content:a"}),
        ([item("lease:f", "content:a", flat="1"), item("lease:l", "content:a"), item("content:a", ref_content="b"),
          item("content:b")], {"lease:f", "lease:l", "content:a", "content:b"}),
        ([item("lease:l", "content:a", expire=PAST), item("content:a")], set()),
        ([item("lease:l", "content:a", expire=FUTURE), item("content:a")], {"lease:l", "content:a"}),
        ([item("lease:l", "content:a", expire="next week"), item("content:a")], {"lease:l", "content:a"}),
        ([item("lease:l", "image:i", flat="1"), item("image:i", "content:a", expire=PAST, ref_content="b"),
          item("content:a", ref_content="c"), item("content:b"), item("content:c")],
         {"lease:l", "image:i", "content:a"}),
        ([item("image:i", "content:a", expire=PAST), item("content:a")], set()),
        ([item("image:i", "content:a", expire=FUTURE), item("content:a")], {"image:i", "content:a"}),
        ([item("image:i", expire=PAST), item("content:a", root="1", ref_image="i")], {"image:i", "content:a"}),
        ([item("container:c", ref_content="a"), item("content:a")], {"container:c", "content:a"}),
        ([item("container:c"), item("content:a", bref_container="c")], {"container:c", "content:a"}),
        ([item("container:c"), item("content:a", bref_container_x="d")], {"container:c"}),
        ([item("image:i"), item("content:a", bref_image="i"), item("content:b", bref_content="a")],
         {"image:i", "content:a", "content:b"}),
        ([item("image:i", bref_content="a", expire=PAST), item("content:a", root="1")], {"image:i", "content:a"}),
        ([item("lease:l", "snapshot:overlayfs/s"), item("snapshot:overlayfs/s"),
          item("content:a", bref_snapshot_overlayfs="s")], {"lease:l", "snapshot:overlayfs/s", "content:a"}),
        ([item("content:a", root="1", ref_snapshot_native__x="s"), item("snapshot:native/s", "snapshot:native/p"),
          item("snapshot:native/p"), item("snapshot:native/q")],
         {"content:a", "snapshot:native/s", "snapshot:native/p"}),
        ([item("ingest:r", "content:a", expires_at=NOW), item("content:a")], {"ingest:r", "content:a"}),
        ([item("ingest:r", "content:a", expires_at=NOW - 1), item("content:a")], set()),
        ([item("ingest:r")], set()),
        ([item("lease:l", "ingest:r"), item("ingest:r", "content:a"), item("content:a")],
         {"lease:l", "ingest:r", "content:a"}),
        ([item("lease:l", "content:gone")], {"lease:l"}),
    ],
)  # fmt: skip
def test_what_is_needed_is_what_the_labels_and_leases_say(items, kept):
    assert kept == needed(*items)
    assert kept == needed(*reversed(items))


def test_a_long_chain_does_not_run_out_of_stack():
    links = [item(f"content:{n}", ref_content=str(n + 1)) for n in range(100_000)]
    links[0] = item("content:0", root="1", ref_content="1")
    assert len(reachable(links, NOW)) == 100_001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ("1970-01-01", None),
        ("1970-02-31T00:00:01Z", None),
        ("0001-01-01T00:00:00Z", -62135596800_000_000_000),
        ("soon", None),
        ("", None),
    ],
)
def test_an_expiry_is_rfc_3339_or_none(text, expected):
    assert expected == expiry({"containerd.io/gc.expire": text})
