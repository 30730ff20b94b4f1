"""Layers and trees for the tests of the differ, and how they are put to a daemon that speaks containerd's API."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from holdfast.api.services.diff.v1 import diff_pb2 as api
from holdfast.api.services.diff.v1.diff_pb2_grpc import DiffStub
from holdfast.api.types.descriptor_pb2 import Descriptor
from holdfast.api.types.mount_pb2 import Mount as MountMessage
from holdfast.diff import mount
from holdfast.errors import AlreadyExists
from holdfast.plugins.proxy.remote import RemoteContent, their_errors

_STARTED_NS = time.time_ns() - 60 * 10**9
OCI = "application/vnd.oci.image.layer.v1.tar"
NAMESPACE = (("containerd-namespace", "hf"),)
#: cap_net_bind_service+ep, as setcap(8) writes it.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def bind(path, how="rw"):
    return [MountMessage(type="bind", source=str(path), options=["rbind", how])]


def overlay(upper, work, *lower):
    options = [f"lowerdir={':'.join(map(str, lower))}", f"upperdir={upper}", f"workdir={work}"]
    return [MountMessage(type="overlay", source="overlay", options=options)]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Made:
    """A tar in the making."""

    def __init__(self, form=tarfile.PAX_FORMAT):
        self._raw = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._raw, mode="w", format=form)

    def add(self, name, data=b"", kind=tarfile.REGTYPE, **fields):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(data)
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        info.mtime = 1_600_000_000
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    @property
    def bytes(self):
        self._tar.close()
        return self._raw.getvalue()


def xattr(**named):
    return {
        f"SCHILY.xattr.{key.replace('__', '.')}": value.decode("utf-8", "surrogateescape")
        for key, value in named.items()
    }


def tree(root) -> dict[str, tuple]:
    """Everything a layer may say of a tree, by path; ``root`` is a path or a descriptor's."""
    found, first = {}, {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            where = os.path.relpath(path, root)
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            else:
                content = about.st_rdev
            xattrs = {}
            with suppress(OSError):
                names = os.listxattr(path, follow_symlinks=False)
                xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in names if "overlay" not in key}
            same = (
                first.setdefault((about.st_dev, about.st_ino), where)
                if about.st_nlink > 1 and not stat.S_ISDIR(about.st_mode)
                else ""
            )
            when = about.st_mtime_ns if about.st_mtime_ns < _STARTED_NS else "just now"
            found[where] = (oct(about.st_mode), about.st_uid, about.st_gid, when, content, same, xattrs)
    return found


def entries(data: bytes, *, whiteout_times: bool = False) -> list[tuple]:
    """Return a tar's entries; containerd 1.6 gives whiteouts the time it made the diff, which is left out."""
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return [
            (
                *(member.name, member.type, member.mode, member.uid, member.gid, member.size, member.linkname),
                None if ".wh." in member.name and not whiteout_times else member.mtime,
                (member.devmajor, member.devminor) if member.isdev() else None,
                sorted(key for key in member.pax_headers if "xattr" in key),
                opened.extractfile(member).read() if member.isreg() else b"",
            )
            for member in opened
        ]


@contextmanager
def merged(mounts):
    """Give a folder where mounts can be read; no other process sees them."""
    place = Path(mounts[0].options[-1].partition("=")[2]).parent / "look"
    place.mkdir(exist_ok=True)
    one = [mount.Mount(found.type, found.source, tuple(found.options)).read_only() for found in mounts]
    descriptor = mount.opened(one, place)
    try:
        yield f"/proc/self/fd/{descriptor}/"
    finally:
        os.close(descriptor)


@dataclass
class Daemon:
    """A daemon's diff service and content, in one namespace."""

    content: RemoteContent
    stub: DiffStub

    async def put(self, data: bytes) -> str:
        with suppress(AlreadyExists):
            writer = await self.content.writer(f"put-{digest(data)}", len(data), digest(data))
            await writer.write(data)
            await writer.commit(len(data), digest(data), {"containerd.io/gc.root": "1"})
        return digest(data)

    async def get(self, name: str) -> bytes:
        reader = await self.content.reader(name)
        return await reader.read(0, reader.size)

    async def apply(self, data: bytes, mounts, media_type=OCI):
        return await self.applied(
            Descriptor(media_type=media_type, digest=await self.put(data), size=len(data)), mounts
        )

    async def applied(self, layer: Descriptor, mounts):
        with their_errors():
            answer = await self.stub.Apply(api.ApplyRequest(diff=layer, mounts=mounts), metadata=NAMESPACE)
        return answer.applied

    async def missing(self, mounts):
        layer = Descriptor(media_type=OCI, digest=digest(b"nobody has this"), size=15)
        with their_errors():
            await self.stub.Apply(api.ApplyRequest(diff=layer, mounts=mounts), metadata=NAMESPACE)

    async def diff(self, left, right, media_type=OCI, **more):
        request = api.DiffRequest(left=left, right=right, media_type=media_type, **more)
        with their_errors():
            return (await self.stub.Diff(request, metadata=NAMESPACE)).diff


@asynccontextmanager
async def dialled(address):
    async with grpc.aio.insecure_channel(f"unix:{address}") as channel:
        yield Daemon(RemoteContent(channel, "hf"), DiffStub(channel))
