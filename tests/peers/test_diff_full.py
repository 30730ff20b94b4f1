"""A layer that does not fit: said in one line, nothing is left of the attempt, and a layer that fits goes on.

Each daemon has a small disk that only it sees: a tmpfs in a mount namespace of its own, read through its /proc.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from holdfast.errors import Code, HoldfastError

from tests.needs import path_of, peer, root
from tests.peers import containerd, holdfast
from tests.peers.layers import Made, bind, dialled, digest, overlay

pytestmark = [peer("containerd", "containerd2/containerd"), root]

INSIDE = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
#: Where each makes its temporary mounts, below its folder.
PLACES = {"containerd": "root/tmpmounts", "containerd 2": "root/tmpmounts", "holdfast": "state/mount"}


@contextmanager
def daemon(name: str, folder: Path):
    """One of the three with a full-to-be disk at ``folder/disk``: its address."""
    disk = folder / "disk"
    disk.mkdir()
    before = ("unshare", "-m", "--propagation", "private", "sh", "-c", INSIDE, "sh", str(disk))
    if name == "holdfast":
        with holdfast.running(folder, before=before) as (address, _):
            yield address
    else:
        program = path_of("containerd" if name == "containerd" else "containerd2/containerd")
        with containerd.running(folder, program=program, before=before) as address:
            yield address


def pid_behind(address: str) -> int:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(address)
        return struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def open_below(pid: int, place: Path) -> list[str]:
    targets = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue  # closed meanwhile
    return [target for target in targets if target.startswith(str(place))]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("over", [False, True], ids=["a directory", "an overlay"])
async def test_a_layer_that_does_not_fit_leaves_nothing_mounted_or_open(name, over):
    with tempfile.TemporaryDirectory(prefix="f") as short, daemon(name, Path(short)) as address:
        folder = Path(short)
        pid = pid_behind(address)
        disk, seen = folder / "disk", Path(f"/proc/{pid}/root{folder}/disk")
        for part in ("lower", "upper", "work"):
            (seen / part).mkdir()
        mounts = overlay(disk / "upper", disk / "work", disk / "lower") if over else bind(disk / "upper")
        mounted = Path(f"/proc/{pid}/mountinfo").read_text()
        assert f"{disk} " in mounted
        too_large = Made().add("small", b"came before").add("large", os.urandom(8 << 20)).bytes
        async with dialled(address) as differ:
            with pytest.raises(HoldfastError, match="no space left on device") as refused:
                await differ.apply(too_large, mounts)
            ours = name == "holdfast"
            assert refused.value.code == (Code.RESOURCE_EXHAUSTED if ours else Code.UNKNOWN)
            if ours:
                said = f'layer {digest(too_large)}: unpack entry "large": no space left on device'
                assert refused.value.message == said
            assert (seen / "upper" / "small").read_bytes() == b"came before"
            assert Path(f"/proc/{pid}/mountinfo").read_text() == mounted
            assert open_below(pid, disk) == []
            place = folder / PLACES[name]
            assert not place.exists() or list(place.iterdir()) == []
            (seen / "upper" / "large").unlink()
            fits = Made().add("fits", b"there is room again").bytes
            assert (await differ.apply(fits, mounts)).digest == digest(fits)
            assert (seen / "upper" / "fits").read_bytes() == b"there is room again"
