"""Packing: what is recognised, what is refused, and that memory does not follow what a byte unpacks to."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import pytest
from backports import zstd
from holdfast.diff.compression import DOCKER, OCI, OCI_FOREIGN, may_be_packed, packer, unpacked
from holdfast.errors import BadLayer, Unimplemented

GZIP, ZSTD = f"{OCI}+gzip", f"{OCI}+zstd"
DATA = os.urandom(300_000) + bytes(3 << 20) + os.urandom(10)


def whole(data: bytes, kind: str, step: int = 70_000) -> bytes:
    return b"".join(unpacked((data[at : at + step] for at in range(0, len(data), step)), kind))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, bytes])
@pytest.mark.parametrize("kind", [GZIP, ZSTD, DOCKER, f"{DOCKER}.gzip", f"{OCI_FOREIGN}+gzip"])
@pytest.mark.parametrize("step", [1 << 20, 70_000, 3])
def test_the_bytes_tell_how_a_layer_is_packed_whatever_its_type_says(pack, kind, step):
    data = DATA if step > 3 else DATA[:20_000]
    assert whole(pack(data), kind, step) == data


def test_a_plain_oci_layer_is_taken_as_it_is():
    assert whole(gzip.compress(b"x"), OCI) == gzip.compress(b"x")


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_members_one_after_the_other_are_one_stream(pack):
    assert whole(pack(DATA) + pack(b"") + pack(b"more"), GZIP) == DATA + b"more"


def test_zeros_after_a_gzip_stream_are_padding_and_anything_else_is_not():
    assert whole(gzip.compress(b"x") + bytes(1000), GZIP) == b"x"
    with pytest.raises(BadLayer, match="the gzip stream is broken"):
        whole(gzip.compress(b"x") + b"rubbish", GZIP)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_stream_that_ends_early_is_refused(pack):
    packed = pack(DATA)
    for cut in (20, len(packed) // 2, len(packed) - 1):
        with pytest.raises(BadLayer, match=r"^the (gzip|zstd) stream ends early$"):
            whole(packed[:cut], GZIP)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_stream_with_a_changed_byte_is_refused_in_one_line(pack):
    packed = bytearray(pack(b"abc" * 1000))
    packed[-3] ^= 0xFF
    with pytest.raises(BadLayer, match=r"^the (gzip|zstd) stream is broken: [^\n]+$"):
        whole(bytes(packed), GZIP)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", f"{DOCKER}.gzip+encrypted", "application/vnd.oci.image.config.v1+json"]
)
def test_what_is_no_layer_is_unimplemented(kind):
    if kind.endswith("encrypted"):
        assert may_be_packed(kind) is False
        return
    with pytest.raises(Unimplemented, match=r"no processor for media-type: not implemented$"):
        may_be_packed(kind)


def test_memory_does_not_follow_what_a_bomb_unpacks_to():
    for bomb in (gzip.compress(bytes(64 << 20)), zstd.compress(bytes(64 << 20))):
        assert len(bomb) < 100_000
        tracemalloc.start()
        try:
            size = sum(map(len, unpacked(iter([bomb]), GZIP)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size == 64 << 20
        assert peak < 8 << 20


@pytest.mark.parametrize("kind", [GZIP, ZSTD, OCI])
def test_the_same_data_are_packed_the_same_every_time(kind):
    made = []
    for step in (1000, 50_000):
        packing = packer(kind)
        pieces = [packing.compress(DATA[at : at + step]) for at in range(0, len(DATA), step)]
        made.append(b"".join([*pieces, packing.flush()]))
    assert made[0] == made[1]
    assert whole(made[0], kind) == DATA


def test_gzip_says_no_time():
    packing = packer(GZIP)
    assert (packing.compress(b"x") + packing.flush())[4:8] == bytes(4)
    assert zlib.decompress(gzip.compress(b"x", mtime=0), 31) == b"x"


@pytest.mark.parametrize("kind", ["application/x", f"{OCI}+bzip2", GZIP.upper()])
def test_a_type_nothing_is_written_in_is_unimplemented(kind):
    with pytest.raises(
        Unimplemented, match=f"^unsupported diff media type: {kind.replace('+', '.')}: not implemented$"
    ):
        packer(kind)
