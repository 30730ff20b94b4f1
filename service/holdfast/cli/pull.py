"""Pull of a bundle from a registry or a layout into a daemon's content: leases, content and images, as any client."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from holdfast.api.services.content.v1 import content_pb2
from holdfast.api.services.content.v1.content_pb2_grpc import ContentStub
from holdfast.api.services.images.v1 import images_pb2
from holdfast.api.services.images.v1.images_pb2_grpc import ImagesStub
from holdfast.api.services.leases.v1 import leases_pb2
from holdfast.api.services.leases.v1.leases_pb2_grpc import LeasesStub
from holdfast.api.types.descriptor_pb2 import Descriptor as Target
from holdfast.bundle.bundles import LABEL, NAMESPACE, PULLED
from holdfast.bundle.layout import TAG, Files, blob, find, layout, read_blob, read_contents
from holdfast.bundle.manifest import MANIFEST, BlobReference, Contents, File
from holdfast.bundle.registry import SCHEME, Repository, password_of, reference_of
from holdfast.cli.client import DaemonClient
from holdfast.errors import AlreadyExists, HoldfastError, NotFound
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.file import read_bundle

_SPLIT = re.compile(r"(?P<path>.+?)(?:@(?P<digest>[a-z0-9]+:[a-f0-9]+)|:(?P<tag>[^/:]+))?\Z", re.DOTALL)
_EXPIRE, _REF = "containerd.io/gc.expire", "containerd.io/gc.ref.content."


class Pulled(Struct, frozen=True):
    """Result of a pull; ``rules`` is the number of rules."""

    name: str
    digest: str
    files: tuple[File, ...]
    rules: int


@contextmanager
def opened(source: str, timeout_s: float, *, plain: bool) -> Iterator[tuple[Files, BlobReference, str]]:
    """Open ``oci://HOST/NAME:TAG`` or a layout: the files, the reference to the manifest, and the usual name.

    ``timeout_s`` and ``plain`` (no TLS) are for a registry.

    Raises:
        HoldfastError: it does not exist, cannot be read, or contains several bundles.
    """
    if source.startswith(SCHEME):
        wanted = reference_of(source)
        repository = Repository(wanted, password_of(wanted.host), timeout_s, plain=plain)
        yield repository, repository.manifest(), str(wanted)
        return
    path, reference = split(source)
    with layout(path) as files:
        manifest = find(files, reference)
        tag = "" if reference == manifest.digest else manifest.note(TAG)
        stem = path.resolve().name.removesuffix(".tar")
        yield files, manifest, f"{stem}:{tag}" if tag else f"{stem}@{manifest.digest}"


def split(source: str) -> tuple[Path, str]:
    """The path of a layout, and its tag or digest; a path that exists is a path, whatever its name contains."""
    if Path(source).exists():
        return Path(source), ""
    found = _SPLIT.match(source)
    if found is None:
        return Path(source), ""
    return Path(found["path"]), found["digest"] or found["tag"] or ""


class Pull:
    """Pull over one connection; ``hold_s`` is how many seconds a bundle is kept without being applied."""

    def __init__(self, client: DaemonClient, hold_s: float) -> None:
        self._client = client
        expires = datetime.fromtimestamp(time.time() + hold_s, UTC)
        self._expire = {_EXPIRE: expires.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def run(self, files: Files, manifest: BlobReference, name: str) -> Pulled:
        """Check the whole bundle, then write it; ``name`` is its name on the node.

        Raises:
            HoldfastError: one line; what was written before it is collected.
        """
        bundle = read_contents(files, manifest)
        rules = _checked(files, bundle)
        lease = self._leased(bundle)
        try:
            self._write(files, bundle)
            self._named(bundle, name)
        except HoldfastError:
            with suppress(HoldfastError):
                self._client.ask(self._client.stub(LeasesStub).Delete, leases_pb2.DeleteRequest(id=lease))
            raise
        return Pulled(name, bundle.digest, bundle.files, rules)

    def _leased(self, bundle: Contents) -> str:
        """Hold the bundle by a new lease, which replaces that of an earlier pull and lives as long as this
        pull says.
        """
        lease = PULLED + bundle.digest.partition(":")[2]
        self._client.within(NAMESPACE, "")
        stub = self._client.stub(LeasesStub)
        labels = {LABEL: bundle.digest, **self._expire}
        with suppress(NotFound):
            self._client.ask(stub.Delete, leases_pb2.DeleteRequest(id=lease))
        self._client.ask(stub.Create, leases_pb2.CreateRequest(id=lease, labels=labels))
        self._client.within(NAMESPACE, lease)
        return lease

    def _write(self, files: Files, bundle: Contents) -> None:
        """Write every blob, the manifest last: once it exists, all blobs it names exist."""
        held = {bundle.config.digest: bundle.config.size} | {file.digest: file.size for file in bundle.files}
        for digest, size in held.items():
            self._blob(digest, size, blob(files, digest, size))
        labels = {f"{_REF}{'config' if at == 0 else f'l.{at - 1}'}": digest for at, digest in enumerate(held)}
        self._blob(bundle.digest, len(bundle.text), iter([bundle.text]))
        info = content_pb2.Info(digest=bundle.digest, labels=labels)
        request = content_pb2.UpdateRequest(info=info)
        request.update_mask.paths.extend(f"labels.{key}" for key in labels)
        self._client.ask(self._client.stub(ContentStub).Update, request)

    def _blob(self, digest: str, size: int, frames: Iterator[bytes]) -> None:
        """Write one blob; a blob that exists already is only added to the lease."""
        requests = _requests(f"{PULLED}{digest}", digest, size, frames)
        with suppress(AlreadyExists):
            for _ in self._client.stream(self._client.stub(ContentStub).Write, requests):
                pass
        resource = leases_pb2.Resource(id=digest, type="content")
        request = leases_pb2.AddResourceRequest(id=self._client.lease, resource=resource)
        self._client.ask(self._client.stub(LeasesStub).AddResource, request)

    def _named(self, bundle: Contents, name: str) -> None:
        """Write an image record of this name, which expires as the lease does; it replaces one of an older bundle."""
        target = Target(media_type=MANIFEST, digest=bundle.digest, size=len(bundle.text))
        image = images_pb2.Image(name=name, target=target, labels={LABEL: bundle.digest, **self._expire})
        stub = self._client.stub(ImagesStub)
        try:
            self._client.ask(stub.Create, images_pb2.CreateImageRequest(image=image))
        except AlreadyExists:
            self._client.ask(stub.Update, images_pb2.UpdateImageRequest(image=image))


def _checked(files: Files, bundle: Contents) -> int:
    """Check that every blob is readable and correct; return the number of rules."""
    texts = {file.path: read_blob(files, file.digest, file.size).decode("utf-8", "replace") for file in bundle.rules}
    rules = compile_rules(read_bundle(texts.items()))
    config = (bundle.config.digest, bundle.config.size)
    for digest, size in {config, *((file.digest, file.size) for file in bundle.files)}:
        for _ in blob(files, digest, size):
            pass
    return len(rules)


def _requests(ref: str, digest: str, size: int, frames: Iterator[bytes]) -> Iterator[content_pb2.WriteContentRequest]:
    yield content_pb2.WriteContentRequest(action=content_pb2.STAT, ref=ref, total=size, expected=digest)
    offset = 0
    for frame in frames:
        if offset == 0 or frame:  # at offset 0: a half-written blob of an earlier pull is written again
            yield content_pb2.WriteContentRequest(action=content_pb2.WRITE, offset=offset, data=frame)
        offset += len(frame)
    yield content_pb2.WriteContentRequest(action=content_pb2.COMMIT, total=size, expected=digest, offset=offset)
