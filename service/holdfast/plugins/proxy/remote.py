"""Client of a content store in another process, over containerd's content API: it serves a content proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from holdfast import errors, namespaces
from holdfast.api.services.content.v1 import content_pb2 as api
from holdfast.api.services.content.v1.content_pb2_grpc import ContentStub
from holdfast.errors import HoldfastError, InvalidArgument, NotFound
from holdfast.plugins.message import LEASE_HEADER, nanoseconds
from holdfast.store.content import Info, IngestStatus, Swept
from holdfast.store.labels import Labels

_CLASSES: dict[int, type[HoldfastError]] = {
    int(kind.code): kind
    for kind in (
        errors.Canceled,
        errors.InvalidArgument,
        errors.DeadlineExceeded,
        errors.NotFound,
        errors.AlreadyExists,
        errors.PermissionDenied,
        errors.ResourceExhausted,
        errors.FailedPrecondition,
        errors.OutOfRange,
        errors.Unimplemented,
        errors.Internal,
        errors.Unavailable,
    )
}


@contextmanager
def their_errors() -> Iterator[None]:
    """Turn a gRPC status into our error of its code, once, with the peer's message."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        kind = _CLASSES.get(error.code().value[0], HoldfastError)
        raise kind((error.details() or "").removesuffix(f": {kind.word}")) from error


class RemoteContent:
    """A `Backend` behind ``channel``. Calls are made in ``namespace``, or in that of the call they are made for."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str = "", lease: str = "") -> None:
        self._channel = channel
        self._stub: Any = ContentStub(channel)
        self._namespace = namespace
        self._lease = lease

    def under(self, lease: str) -> RemoteContent:
        """Return this store with ``lease``, which holds everything written through it."""
        return RemoteContent(self._channel, self._namespace, lease) if lease else self

    async def info(self, digest: str) -> Info:
        """`ContentStore.info`."""
        with their_errors():
            answer = await self._stub.Info(api.InfoRequest(digest=digest), metadata=self.metadata)
        return _info(answer.info)

    async def update(self, info: Info, mask: Sequence[str] = ()) -> Info:
        """`ContentStore.update`."""
        wanted = api.Info(digest=info.digest, labels=info.labels)
        request = api.UpdateRequest(info=wanted, update_mask=FieldMask(paths=mask))
        with their_errors():
            return _info((await self._stub.Update(request, metadata=self.metadata)).info)

    async def pages(self, filters: Iterable[str] = ()) -> AsyncIterator[list[Info]]:
        """`ContentStore.pages`."""
        with their_errors():
            async for answer in self._stub.List(api.ListContentRequest(filters=filters), metadata=self.metadata):
                yield [_info(message) for message in answer.info]

    async def delete(self, digest: str) -> None:
        """`ContentStore.delete`."""
        with their_errors():
            await self._stub.Delete(api.DeleteContentRequest(digest=digest), metadata=self.metadata)

    async def reader(self, digest: str) -> RemoteReader:
        """`ContentStore.reader`; it ends when the blob is deleted there."""
        return RemoteReader(self._stub, self.metadata, await self.info(digest))

    async def writer(self, ref: str, total: int = 0, expected: str = "") -> RemoteWriter:
        """`ContentStore.writer`."""
        if not ref:
            raise InvalidArgument("ref must not be empty")
        writer = RemoteWriter(self._stub.Write(metadata=self.metadata), ref)
        await writer.open(total, expected)
        return writer

    async def status(self, ref: str) -> IngestStatus:
        """`ContentStore.status`."""
        with their_errors():
            return _status((await self._stub.Status(api.StatusRequest(ref=ref), metadata=self.metadata)).status)

    async def statuses(self, filters: Iterable[str] = ()) -> list[IngestStatus]:
        """`ContentStore.statuses`."""
        with their_errors():
            answer = await self._stub.ListStatuses(api.ListStatusesRequest(filters=filters), metadata=self.metadata)
        return [_status(message) for message in answer.statuses]

    async def abort(self, ref: str) -> None:
        """`ContentStore.abort`."""
        with their_errors():
            await self._stub.Abort(api.AbortRequest(ref=ref), metadata=self.metadata)

    async def sweep(self, digests: Collection[str], refs: Collection[str]) -> Swept:
        """`Backend.sweep`, with one call for each blob or ingest that is removed."""
        gone = [info.digest async for page in self.pages() for info in page if info.digest not in digests]
        ended = [status.ref for status in await self.statuses() if status.ref not in refs]
        for digest in gone:
            await _unless_gone(self.delete(digest))
        for ref in ended:
            await _unless_gone(self.abort(ref))
        return Swept(len(gone), len(ended))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The gRPC metadata of a call: its namespace and lease, where they are set."""
        found = ((namespaces.GRPC_HEADER, self._namespace or namespaces.current()), (LEASE_HEADER, self._lease))
        return tuple((key, value) for key, value in found if value)


class RemoteReader:
    """A `Reader` that makes a call for every read."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...], info: Info) -> None:
        self._stub = stub
        self._metadata = metadata
        self._digest = info.digest
        self.size = info.size

    async def read(self, offset: int, size: int) -> bytes:
        """`Reader.read`."""
        if size <= 0 or offset >= self.size:
            return b""
        request = api.ReadContentRequest(digest=self._digest, offset=offset, size=size)
        with their_errors():
            return b"".join([answer.data async for answer in self._stub.Read(request, metadata=self._metadata)])

    def close(self) -> None:
        """`Reader.close`: nothing is open."""


class RemoteWriter:
    """A `Writer` on one ``Write`` call, which holds the ref."""

    def __init__(self, call: Any, ref: str) -> None:
        self._call = call
        self._ref = ref
        self._ended = False
        self.status = IngestStatus(ref)
        self.digest = ""

    async def open(self, total: int, expected: str) -> None:
        """Take the ref."""
        answer = await self._asked(api.WriteContentRequest(ref=self._ref, total=total, expected=expected))
        started_at, updated_at = nanoseconds(answer.started_at), nanoseconds(answer.updated_at)
        self.status = IngestStatus(self._ref, answer.offset, answer.total, expected, started_at, updated_at)

    async def write(self, data: bytes) -> None:
        """`Writer.write`."""
        if data:
            await self._asked(api.WriteContentRequest(action=api.WRITE, offset=self.status.offset, data=data))

    async def truncate(self) -> None:
        """`Writer.truncate`."""
        await self._asked(api.WriteContentRequest(action=api.WRITE, offset=0))

    async def commit(self, size: int = 0, expected: str = "", labels: Labels | None = None) -> None:
        """`Writer.commit`."""
        offset = self.status.offset
        request = api.WriteContentRequest(
            action=api.COMMIT, total=size, expected=expected, offset=offset, labels=labels or {}
        )
        await self._asked(request)
        await self.close()

    async def close(self) -> None:
        """`Writer.close`: when it returns, the peer has released the ref."""
        if self._ended:
            return
        self._ended = True
        with their_errors():
            await self._call.done_writing()
            while await self._call.read() is not grpc.aio.EOF:
                pass

    async def _asked(self, request: api.WriteContentRequest) -> Any:
        if self._ended:
            raise errors.FailedPrecondition("cannot commit on closed writer")
        try:
            with their_errors():
                await self._call.write(request)
                answer: Any = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise errors.Unavailable(f"ref {self._ref}: the call ended")
        except BaseException as error:
            self._ended = True
            if not isinstance(error, HoldfastError):
                self._call.cancel()
            raise
        old = self.status
        updated_at = nanoseconds(answer.updated_at) or old.updated_at
        self.status = IngestStatus(self._ref, answer.offset, old.total, old.expected, old.started_at, updated_at)
        self.digest = answer.digest or self.digest
        return answer


async def _unless_gone(call: Any) -> None:
    try:
        await call
    except NotFound:
        return


def _info(message: api.Info) -> Info:
    labels = dict(message.labels)
    return Info(message.digest, message.size, labels, nanoseconds(message.created_at), nanoseconds(message.updated_at))


def _status(message: api.Status) -> IngestStatus:
    started_at, updated_at = nanoseconds(message.started_at), nanoseconds(message.updated_at)
    return IngestStatus(message.ref, message.offset, message.total, message.expected, started_at, updated_at)
