"""containerd's content service.

With the metadata plugin disabled it serves the content store itself: no namespaces, no labels, and nothing is ever
collected. A containerd needs this behind its content proxy, because it has metadata of its own
(docs/proxy-plugin.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from google.protobuf.empty_pb2 import Empty

from holdfast.api.events.content_pb2 import ContentCreate, ContentDelete
from holdfast.api.services.content.v1 import content_pb2 as api
from holdfast.api.services.content.v1 import content_pb2_grpc as api_grpc
from holdfast.errors import AlreadyExists, BadOffset, HoldfastError, InvalidArgument, NotFound
from holdfast.events import Exchange
from holdfast.namespaces import current, required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import CONTENT, EVENTS, GRPC, METADATA, SERVICE
from holdfast.plugins.message import SECOND_NS, lease, paths, timestamp
from holdfast.store import ContentStore, MetadataStore
from holdfast.store.content import FRAME, Info, IngestStatus, Writer
from holdfast.store.digest import check_digest

_LISTED = 100  # infos in one message; containerd's


class ContentService:
    """The store of each namespace; publishes an event for every blob that a client creates or deletes."""

    def __init__(self, metadata: MetadataStore, events: Exchange) -> None:
        self._content = metadata.content
        self._events = events

    def store(self, lease_id: str = "") -> ContentStore:
        """Return the content of the caller's namespace."""
        return self._content.within(required(), lease_id)

    async def delete(self, digest: str, lease_id: str) -> None:
        """See `ContentStore.delete`."""
        await self.store(lease_id).delete(digest)
        self._events.publish("/content/delete", ContentDelete(digest=digest))

    def created(self, digest: str, size: int) -> None:
        """Publish an event for a commit, as containerd 2 does."""
        self._events.publish("/content/create", ContentCreate(digest=digest, size=size))


class PlainContentService:
    """The store without namespaces; publishes an event if the caller names a namespace."""

    def __init__(self, store: ContentStore, events: Exchange) -> None:
        self._store = store
        self._events = events

    def store(self, lease_id: str = "") -> ContentStore:
        """Return the one store that all clients share."""
        return self._store

    async def delete(self, digest: str, lease_id: str) -> None:
        """See `ContentStore.delete`."""
        await self._store.delete(digest)
        if current():
            self._events.publish("/content/delete", ContentDelete(digest=digest))

    def created(self, digest: str, size: int) -> None:
        """Publish an event for a commit, if the caller names a namespace."""
        if current():
            self._events.publish("/content/create", ContentCreate(digest=digest, size=size))


class ContentServicer(api_grpc.ContentServicer):
    """``containerd.services.content.v1.Content``."""

    def __init__(self, service: ContentService | PlainContentService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_ContentServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Info(self, request: api.InfoRequest, call: Any) -> api.InfoResponse:  # noqa: N802, D102
        digest = check_digest(request.digest, f'"{request.digest}" failed validation')
        return api.InfoResponse(info=_info(await self._service.store().info(digest)))

    async def Update(self, request: api.UpdateRequest, call: Any) -> api.UpdateResponse:  # noqa: N802, D102
        digest = check_digest(request.info.digest, f'"{request.info.digest}" failed validation')
        wanted = Info(digest, labels=dict(request.info.labels))
        return api.UpdateResponse(info=_info(await self._service.store().update(wanted, paths(request.update_mask))))

    async def List(self, request: api.ListContentRequest, call: Any) -> AsyncIterator[api.ListContentResponse]:  # noqa: N802, D102
        async for page in self._service.store().pages(request.filters):
            for start in range(0, len(page), _LISTED):
                answer = api.ListContentResponse()
                for info in page[start : start + _LISTED]:
                    _fill(answer.info.add(), info)
                yield answer

    async def Delete(self, request: api.DeleteContentRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.delete(check_digest(request.digest, "{}"), lease(call))
        return Empty()

    async def Read(self, request: api.ReadContentRequest, call: Any) -> AsyncIterator[api.ReadContentResponse]:  # noqa: N802, D102
        check_digest(request.digest, f"{request.digest}: {{}}")
        reader = await self._service.store().reader(request.digest)
        try:
            start = max(request.offset, 0)
            if start > reader.size:
                raise BadOffset(f"read past object length {reader.size} bytes")
            end = min(start + request.size, reader.size) if request.size > 0 else reader.size
            offset = start
            while offset < end and (data := await reader.read(offset, min(FRAME, end - offset))):
                yield api.ReadContentResponse(offset=offset - start, data=data)
                offset += len(data)
        finally:
            reader.close()

    async def Status(self, request: api.StatusRequest, call: Any) -> api.StatusResponse:  # noqa: N802, D102
        try:
            status = await self._service.store().status(request.ref)
        except HoldfastError as error:
            raise type(error)(f'could not get status for ref "{request.ref}": {error.message}') from None
        return api.StatusResponse(status=_status(status))

    async def ListStatuses(self, request: api.ListStatusesRequest, call: Any) -> api.ListStatusesResponse:  # noqa: N802, D102
        return api.ListStatusesResponse(statuses=map(_status, await self._service.store().statuses(request.filters)))

    async def Write(  # noqa: N802, D102
        self, requests: AsyncIterator[api.WriteContentRequest], call: Any
    ) -> AsyncIterator[api.WriteContentResponse]:
        first = await anext(aiter(requests), None)
        if first is None or not first.ref:
            raise InvalidArgument("first message must have a reference")
        session = _Session(self._service.store(lease(call)), first)
        await session.open()
        try:
            request: api.WriteContentRequest | None = first
            while request is not None:
                yield await session.answer(request)
                if request.action == api.COMMIT:
                    self._service.created(session.digest, session.offset)
                    return
                request = await anext(aiter(requests), None)
        finally:
            await session.close()

    async def Abort(self, request: api.AbortRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.store(lease(call)).abort(request.ref)
        return Empty()


class _Session:
    """One ``Write`` call: it holds the ref, and remembers the size and digest that the client gave."""

    def __init__(self, store: ContentStore, first: api.WriteContentRequest) -> None:
        self._store = store
        self._ref = first.ref
        self._total = first.total
        self._expected = first.expected
        self._writer: Writer | None = None
        self._stat = api.WriteContentResponse()
        self.digest = ""
        self.offset = 0

    async def open(self) -> None:
        """Take the ref."""
        self._writer = await self._store.writer(self._ref, self._total, self._expected)

    async def close(self) -> None:
        """Release the ref."""
        if self._writer is not None:
            await self._writer.close()

    async def answer(self, request: api.WriteContentRequest) -> api.WriteContentResponse:
        """Carry out one message, and return the response."""
        assert self._writer is not None
        if request.expected:
            self._expected = request.expected
            await self._refuse_existing(self._writer)
        self._total = request.total or self._total
        if request.action != api.STAT:
            await self._write(self._writer, request)
        self.digest, self.offset = self._writer.digest, self._writer.status.offset
        if request.action == api.STAT:
            self._remember(self._writer.status)
        answer = api.WriteContentResponse(action=request.action, offset=self.offset, digest=self.digest)
        answer.MergeFrom(self._stat)
        return answer

    async def _write(self, writer: Writer, request: api.WriteContentRequest) -> None:
        offset = writer.status.offset
        if request.offset > 0 and request.offset != offset:
            raise BadOffset(f"write @{request.offset} must occur at current offset {offset}")
        if request.offset == 0 and offset > 0:
            await writer.truncate()
        if request.data:
            await writer.write(request.data)
        if request.action == api.COMMIT:
            await writer.commit(self._total, self._expected, dict(request.labels))

    def _remember(self, status: IngestStatus) -> None:
        """Keep the result of a STAT: every later response repeats it, as in containerd."""
        self._stat = api.WriteContentResponse(
            total=self._total, started_at=timestamp(status.started_at), updated_at=timestamp(status.updated_at)
        )

    async def _refuse_existing(self, writer: Writer) -> None:
        """End the ingest if another client committed its blob meanwhile."""
        try:
            await self._store.info(self._expected)
        except NotFound:
            return
        await writer.close()
        with suppress(NotFound):
            await self._store.abort(self._ref)
        raise AlreadyExists(f"blob with expected digest {self._expected} exists")


def _info(info: Info) -> api.Info:
    message = api.Info()
    _fill(message, info)
    return message


def _fill(message: api.Info, info: Info) -> None:
    """Fill field by field: it takes a third of the time of making it from messages, and a list has thousands."""
    message.digest, message.size = info.digest, info.size
    if info.labels:
        message.labels.update(info.labels)
    if info.created_at:
        message.created_at.seconds, message.created_at.nanos = divmod(info.created_at, SECOND_NS)
    if info.updated_at:
        message.updated_at.seconds, message.updated_at.nanos = divmod(info.updated_at, SECOND_NS)


def _status(status: IngestStatus) -> api.Status:
    return api.Status(
        ref=status.ref,
        offset=status.offset,
        total=status.total,
        expected=status.expected,
        started_at=timestamp(status.started_at),
        updated_at=timestamp(status.updated_at),
    )


@plugin(SERVICE, "content-service", requires=(EVENTS, METADATA, CONTENT))
async def content_service(context: InitContext) -> AsyncIterator[ContentService | PlainContentService]:
    """The service other plugins use."""
    events = context.single(EVENTS)
    if any(state.registration.kind == METADATA for state in context.plugins):
        yield ContentService(context.single(METADATA), events)
    else:
        yield PlainContentService(context.single(CONTENT), events)


@plugin(GRPC, "content", requires=(SERVICE,), services=("containerd.services.content.v1.Content",))
async def content(context: InitContext) -> AsyncIterator[ContentServicer]:
    """The service clients use."""
    yield ContentServicer(context.by_id(SERVICE, "content-service"))
