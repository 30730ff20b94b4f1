"""Format of a bundle: an OCI image manifest whose layers are files with a title, as ``oras push`` makes them.

    artifactType, or config.mediaType    application/vnd.holdfast.bundle.v1+json
    layers[].mediaType                   application/vnd.holdfast.rules.v1+yaml: placement rules
                                         application/vnd.holdfast.file.v1: any other file
    layers[].annotations                 org.opencontainers.image.title: its path in the bundle
                                         io.holdfast.bundle.mode: permission bits in octal, 0644 when not given
                                         io.holdfast.bundle.target: a directory of the node that gets a link to it

Everything else is refused: the files a bundle writes on a node must be known before it is written. Bytes in, values
out.
Sources: https://github.com/opencontainers/image-spec/blob/main/manifest.md, https://oras.land/docs/concepts/artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from holdfast.errors import InvalidArgument, ResourceExhausted
from holdfast.store.digest import check_digest

ARTIFACT = "application/vnd.holdfast.bundle.v1+json"
RULES = "application/vnd.holdfast.rules.v1+yaml"
FILE = "application/vnd.holdfast.file.v1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"  # oras's config where only the artifactType gives the type
TITLE = "org.opencontainers.image.title"
MODE = "io.holdfast.bundle.mode"
TARGET = "io.holdfast.bundle.target"
UNPACK = "io.deis.oras.content.unpack"  # oras packed a whole directory

MAX_MANIFEST = 1 << 20  # bytes
MAX_RULES = 1 << 20
MAX_FILE = 16 << 20
MAX_BUNDLE = 64 << 20
MAX_FILES = 512
_MAX_PATH = 1024
_MAX_NAME = 255
_MODE = re.compile(r"0?[0-7]{3}\Z")  # no set-user-id, set-group-id or sticky bits
_DEFAULT_MODE = 0o644

T = TypeVar("T")
Size = Annotated[int, msgspec.Meta(ge=0)]


class BlobReference(msgspec.Struct, frozen=True, rename="camel"):
    """A reference to a blob."""

    media_type: str
    digest: str
    size: Size
    annotations: dict[str, str] | None = None
    artifact_type: str = ""

    def note(self, key: str) -> str:
        """An annotation; empty without it."""
        return (self.annotations or {}).get(key, "")


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of an image manifest that are used here."""

    schema_version: int
    config: BlobReference
    layers: tuple[BlobReference, ...] = ()
    media_type: str = MANIFEST
    artifact_type: str = ""


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """A layout's ``index.json``."""

    schema_version: int
    manifests: tuple[BlobReference, ...] = ()


class File(msgspec.Struct, frozen=True):
    """One file of a bundle; ``size`` in bytes, ``target`` is empty for a file that stays in the bundle's directory."""

    path: str
    digest: str
    size: int
    mode: int = _DEFAULT_MODE
    rules: bool = False
    target: str = ""

    @property
    def name(self) -> str:
        """The last part of the path, which is the name of a link to the file."""
        return self.path.rpartition("/")[2]


class Contents(msgspec.Struct, frozen=True):
    """A bundle: its manifest's digest and bytes, its config's descriptor, its files in the manifest's order."""

    digest: str
    text: bytes
    config: BlobReference
    files: tuple[File, ...]

    @property
    def rules(self) -> tuple[File, ...]:
        """The files that hold placement rules."""
        return tuple(file for file in self.files if file.rules)


def contents(digest: str, text: bytes) -> Contents:
    """Return the contents of a manifest whose bytes were checked against ``digest``.

    Raises:
        InvalidArgument, ResourceExhausted: it is no bundle, or one that must not be written to a node.
    """
    manifest = parsed(text, Manifest, digest)
    if manifest.media_type != MANIFEST:
        raise InvalidArgument(f"{digest}: mediaType: {manifest.media_type} is not {MANIFEST}")
    if ARTIFACT not in (manifest.artifact_type, manifest.config.media_type):
        kind = manifest.artifact_type or manifest.config.media_type
        raise InvalidArgument(f"{digest}: artifactType: {kind} is not {ARTIFACT}")
    if manifest.config.media_type not in (ARTIFACT, EMPTY):
        raise InvalidArgument(
            f"{digest}: config.mediaType: {manifest.config.media_type} is neither {ARTIFACT} nor {EMPTY}"
        )
    _check_size(manifest.config, MAX_RULES, f"{digest}: config")
    if len(manifest.layers) > MAX_FILES:
        raise ResourceExhausted(f"{digest}: layers: {len(manifest.layers)} files are more than {MAX_FILES}")
    files = tuple(_file(layer, f"{digest}: layers[{at}]") for at, layer in enumerate(manifest.layers))
    if not files:
        raise InvalidArgument(f"{digest}: layers: a bundle has at least one file")
    total = sum(file.size for file in files)
    if total > MAX_BUNDLE:
        raise ResourceExhausted(f"{digest}: {total} bytes are more than {MAX_BUNDLE}")
    _check_paths(files, digest)
    return Contents(digest, text, manifest.config, files)


def parsed(text: bytes, kind: type[T], subject: str) -> T:
    """Return ``text`` decoded as JSON of type ``kind``.

    Raises:
        InvalidArgument: it has another form.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{subject}: {error}") from None


def _file(layer: BlobReference, location: str) -> File:
    if layer.media_type not in (RULES, FILE):
        raise InvalidArgument(f"{location}.mediaType: {layer.media_type} is neither {RULES} nor {FILE}")
    if layer.note(UNPACK):
        raise InvalidArgument(f"{location}: a packed directory; push its files one by one")
    check_digest(layer.digest, f'{location}.digest "{layer.digest}": {{}}')
    _check_size(layer, MAX_RULES if layer.media_type == RULES else MAX_FILE, location)
    path, mode, target = layer.note(TITLE), layer.note(MODE), layer.note(TARGET)
    if why := _path_complaint(path):
        raise InvalidArgument(f'{location}: {TITLE} "{path}": {why}')
    if mode and not _MODE.match(mode):
        raise InvalidArgument(f'{location}: {MODE} "{mode}": not permission bits in octal, as 0644')
    if target and (not target.startswith("/") or _path_complaint(target[1:])):
        raise InvalidArgument(f'{location}: {TARGET} "{target}": not the plain absolute path of a directory')
    is_rules = layer.media_type == RULES
    if is_rules and target:
        raise InvalidArgument(f"{location}: {TARGET}: rules stay in the bundle")
    return File(path, layer.digest, layer.size, int(mode, 8) if mode else _DEFAULT_MODE, is_rules, target)


def _check_size(reference: BlobReference, limit: int, location: str) -> None:
    check_digest(reference.digest, f'{location}.digest "{reference.digest}": {{}}')
    if reference.size > limit:
        raise ResourceExhausted(f"{location}.size: {reference.size} bytes are more than {limit}")


def _path_complaint(path: str) -> str:
    """The error text for a relative path; empty when the path is valid."""
    if not path:
        return "a file needs a path"
    if path.startswith("/"):
        return "the path must be relative"
    if not path.isprintable() or "\\" in path:
        return "only printable characters, and / between names"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "the path must stay below the bundle: no empty names, . or .."
    if len(path.encode()) > _MAX_PATH or any(len(part.encode()) > _MAX_NAME for part in parts):
        return f"longer than {_MAX_PATH} bytes, or a name longer than {_MAX_NAME}"
    return ""


def _check_paths(files: Iterable[File], digest: str) -> None:
    """Check that no two files have one path, and that no file is where another needs a directory."""
    paths: set[str] = set()
    links: set[str] = set()
    for file in files:
        link = f"{file.target}/{file.name}" if file.target else ""
        if file.path in paths or link in links:
            raise InvalidArgument(f'{digest}: two files are called "{link if link in links else file.path}"')
        paths.add(file.path)
        links.update([link] if link else [])
    for path in paths:
        parts = path.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if taken := above & paths:
            raise InvalidArgument(f'{digest}: "{min(taken)}" is a file and a directory')
