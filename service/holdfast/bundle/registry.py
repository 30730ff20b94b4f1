"""A bundle in a registry, over the distribution API: what an image is pulled by, and ``oras push`` pushes to.

    GET /v2/NAME/manifests/TAG|DIGEST    the manifest
    GET /v2/NAME/blobs/DIGEST            a file

A registry is not trusted: an answer has a limit in bytes, and each wait for a part of it one in seconds; the caller
checks every blob against the digest in the manifest (`layout.blob`); a password is sent over TLS only, to the registry
and to the token server that it names, and not after a redirect; no redirect leads from TLS to plain text.
Sources: https://github.com/opencontainers/distribution-spec/blob/main/spec.md,
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib import error, parse, request

import msgspec

from holdfast.bundle.manifest import INDEX, MANIFEST, MAX_FILE, MAX_MANIFEST, BlobReference
from holdfast.errors import (
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from holdfast.store.digest import check_digest

SCHEME = "oci://"
_MAX_TOKEN = 1 << 16  # bytes; a token has some kilobytes
_FORM = re.compile(
    r"(?P<host>(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?)"
    r"/(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>[^@]+))?\Z"
)
_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')


class Reference(msgspec.Struct, frozen=True):
    """A bundle in a registry; ``version`` is a tag or a digest."""

    host: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}{'@' if ':' in self.version else ':'}{self.version}"


def reference_of(text: str) -> Reference:
    """Return the reference in ``oci://HOST[:PORT]/NAME:TAG`` or ``…@DIGEST``. With both, the digest counts.

    Raises:
        InvalidArgument: it has another form, or neither tag nor digest.
    """
    found = _FORM.match(text.removeprefix(SCHEME))
    if found is None:
        raise InvalidArgument(f'"{text}" is not {SCHEME}HOST/NAME:TAG or {SCHEME}HOST/NAME@DIGEST')
    if found["digest"]:
        check_digest(found["digest"], f'"{text}": {{}}')
    if not (found["digest"] or found["tag"]):
        raise InvalidArgument(f'"{text}": which bundle? add :TAG or @DIGEST')
    return Reference(found["host"], found["name"], found["digest"] or found["tag"])


def password_of(host: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return ``user:password`` in base64 for a registry, from the file that ``docker login`` and ``oras login`` write.

    Empty without an entry. The file is ``$DOCKER_CONFIG/config.json``, by default in ``~/.docker``; credential helpers
    are not called.

    Raises:
        InvalidArgument: the file has another form.
    """
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/"), ".docker")
    try:
        text = Path(folder, "config.json").read_bytes()
    except FileNotFoundError:
        return ""
    try:
        return msgspec.json.decode(text, type=_Passwords).auths.get(host, _Password()).auth
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise InvalidArgument(f"{folder}/config.json: {problem}") from None


class _Password(msgspec.Struct, frozen=True):
    auth: str = ""


class _Passwords(msgspec.Struct, frozen=True):
    auths: dict[str, _Password] = {}


class Repository:
    """The files of one bundle, as `layout.Files`; each is requested once and kept, 64 MiB at most by the manifest.

    ``plain``: the registry has no TLS; then no password is sent.
    """

    def __init__(self, reference: Reference, password: str, timeout_s: float, *, plain: bool = False) -> None:
        self.where = str(reference)
        self._base = f"{'http' if plain else 'https'}://{reference.host}/v2/{reference.name}"
        self._scope = f"repository:{reference.name}:pull"
        self._version = reference.version
        self._password, self._timeout_s, self._plain = "" if plain else password, timeout_s, plain
        self._authorization = ""
        self._blobs: dict[str, bytes] = {}
        self._opener = _opener()

    def manifest(self) -> BlobReference:
        """Request the manifest, and return the reference to it. The digest of a tag is that of the bytes.

        Raises:
            NotFound: the registry does not have it.
            HoldfastError: as `opened`.
        """
        text = self._get(f"/manifests/{self._version}", MAX_MANIFEST)
        by_digest = ":" in self._version
        digest = self._version if by_digest else f"sha256:{hashlib.sha256(text).hexdigest()}"
        self._blobs[digest] = text
        return BlobReference(MANIFEST, digest, len(text))

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """`layout.Files.opened`.

        Raises:
            NotFound, PermissionDenied: what the registry answered.
            Unavailable: it did not answer.
            ResourceExhausted: it sent more than a bundle's file may have.
        """
        digest = name.removeprefix("blobs/").replace("/", ":")
        if digest not in self._blobs:
            self._blobs[digest] = self._get(f"/blobs/{digest}", MAX_FILE)
        yield io.BytesIO(self._blobs[digest]), len(self._blobs[digest])

    def _get(self, path: str, limit: int) -> bytes:
        try:
            return self._sent(self._base + path, self._authorization, limit)
        except _Challenged as challenge:
            self._authorization = self._answer(challenge.scheme, challenge.parameters)
        try:
            return self._sent(self._base + path, self._authorization, limit)
        except _Challenged:
            known = "the password of docker's config.json" if self._password else "a request without a password"
            raise PermissionDenied(f"{self.where}: the registry refuses {known}") from None

    def _answer(self, scheme: str, parameters: dict[str, str]) -> str:
        """Return the header Authorization that a challenge asks for."""
        if scheme == "basic" and self._password:
            return f"Basic {self._password}"
        realm = parameters.get("realm", "")
        if scheme != "bearer" or not realm.startswith(("https://", "http://") if self._plain else "https://"):
            raise PermissionDenied(f'{self.where}: the registry wants "{scheme}" by "{realm}"')
        asked = {"service": parameters.get("service", ""), "scope": parameters.get("scope") or self._scope}
        query = parse.urlencode({key: value for key, value in asked.items() if value})
        basic = f"Basic {self._password}" if self._password else ""
        try:
            token = json.loads(self._sent(f"{realm}{'&' if '?' in realm else '?'}{query}", basic, _MAX_TOKEN))
            return f"Bearer {token.get('token') or token['access_token']}"
        except _Challenged:
            raise PermissionDenied(f"{self.where}: {realm} refuses the password of docker's config.json") from None
        except (ValueError, KeyError, AttributeError):
            raise FailedPrecondition(f"{self.where}: {realm} answers without a token") from None

    def _sent(self, url: str, authorization: str, limit: int) -> bytes:
        try:
            headers = {"Accept": f"{MANIFEST}, {INDEX}", "User-Agent": "holdfast"}
            wanted = request.Request(url, headers=headers)  # noqa: S310 (the opener opens http: and https: alone)
            if authorization:
                wanted.add_unredirected_header("Authorization", authorization)
            with self._opener.open(wanted, timeout=self._timeout_s) as answer:
                text: bytes = answer.read(limit + 1)
                missing = answer.length or 0  # of Content-Length
        except error.HTTPError as refusal:
            with refusal:
                raise self._error(refusal) from None
        except (OSError, http.client.HTTPException, ValueError) as problem:  # of urllib, ssl and sockets
            raise Unavailable(f"{self.where}: {getattr(problem, 'reason', problem)}") from problem
        if len(text) > limit:
            raise ResourceExhausted(f"{self.where}: {url}: more than {limit} bytes")
        if missing:
            raise Unavailable(f"{self.where}: {url}: the answer ended {missing} bytes early")
        return text

    def _error(self, refusal: error.HTTPError) -> Exception:
        if refusal.code == http.HTTPStatus.UNAUTHORIZED:
            challenge = refusal.headers.get("WWW-Authenticate", "")
            return _Challenged(challenge.partition(" ")[0].lower(), dict(_PARAMETER.findall(challenge)))
        kind: dict[int, type[HoldfastError]] = {403: PermissionDenied, 404: NotFound}
        return kind.get(refusal.code, Unavailable)(f"{self.where}: {refusal.url}: HTTP {refusal.code}")


class _Challenged(Exception):
    """The registry wants another header Authorization."""

    def __init__(self, scheme: str, parameters: dict[str, str]) -> None:
        super().__init__(scheme)
        self.scheme, self.parameters = scheme, parameters


class _Redirects(request.HTTPRedirectHandler):
    """Follow redirects, as to a server of blobs, but not from TLS to plain text; such an answer stays an error."""

    def redirect_request(self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request, or None."""
        if req.type == "https" and not newurl.startswith("https:"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """Open http: and https: alone, by the environment's proxies and the system's authorities (or SSL_CERT_FILE)."""
    opener = request.OpenerDirector()
    handlers: tuple[Any, ...] = (
        *(request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), _Redirects()),
        *(request.HTTPDefaultErrorHandler(), request.HTTPErrorProcessor(), request.UnknownHandler()),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener
