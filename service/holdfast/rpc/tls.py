"""The TLS files of the TCP listener: checked when the daemon starts, and read again when they change.

The first client must not be the one to find a bad pair, so a handshake is done with the files in memory; it finds
errors that a parser does not (a key of another certificate, one that is not for servers). containerd accepts an
authority file that holds no certificate, and then refuses every client; here it is an error. An expired certificate is
only a warning: the node must not lose its daemon because the fleet's clients are refused.

Files that change later (a renewed certificate, a Secret that kubelet swaps) are used from the next connection on. A set
that fails the check is logged and ignored until it changes again.
"""

from __future__ import annotations

import os
import ssl
import time

import grpc

from holdfast import log
from holdfast.config import Settings
from holdfast.errors import BootError

LOG = log.named(__name__)

_EXPIRED, _NOT_YET_VALID = 10, 9  # X509_V_ERR_* of openssl/x509_vfy.h
Signature = tuple[tuple[int, int, int], ...]


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials for the TCP listener; None for plaintext.

    Raises:
        BootError: a file is missing, unreadable or not what its key says, or certificate and key do not match.
    """
    section = settings.grpc
    if not section.tcp_tls_cert:
        return None
    files = TlsFiles(section.tcp_tls_cert, section.tcp_tls_key, section.tcp_tls_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.load(),
        files.changed,  # type: ignore[arg-type] # None is "as before" (grpc's docstring); its stubs do not know
        require_client_authentication=bool(section.tcp_tls_ca),
    )


class TlsFiles:
    """Certificate chain, private key and, unless empty, the clients' authorities: paths of PEM files."""

    def __init__(self, certificate: str, key: str, authority: str = "") -> None:
        self._paths = {"tcp_tls_cert": certificate, "tcp_tls_key": key, "tcp_tls_ca": authority}
        self._seen: Signature | None = None

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read and check the files.

        Raises:
            BootError: one line that names the setting, the file and what is wrong.
        """
        self._seen = self._signature()
        certificate, key = self._read("tcp_tls_cert"), self._read("tcp_tls_key")
        authority = self._read("tcp_tls_ca") if self._paths["tcp_tls_ca"] else None
        for warning in (*_checked_pair(self._paths, certificate), *_checked_authority(self._paths, authority)):
            LOG.warning(warning)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if the files changed and are good, else None; called for every connection, on its
        thread.
        """
        if self._signature() == self._seen:
            return None
        try:
            fresh = self.load()
        except BootError as error:
            LOG.error("changed TLS files cannot be used; the previous ones stay in force", error=error)
            return None
        LOG.info("TLS files changed; new connections use them", certificate=self._paths["tcp_tls_cert"])
        return fresh

    def _signature(self) -> Signature:
        """A value that changes when a file is written or another one takes its name."""
        found = []
        for path in self._paths.values():
            try:
                stat = os.stat(path)
                found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _read(self, key: str) -> bytes:
        path = self._paths[key]
        if not path:
            raise BootError(f"grpc.{key}: not set, but grpc.tcp_tls_cert is; a certificate needs its private key")
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise BootError(f"grpc.{key}: open {path}: {(error.strerror or str(error)).lower()}") from error


def _checked_pair(paths: dict[str, str], certificate: bytes) -> list[str]:
    """Warnings about the server's own files. Raises BootError."""
    cert_path, key_path = paths["tcp_tls_cert"], paths["tcp_tls_key"]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the certificate itself, without its issuer
    if not _trust(client, certificate):
        raise BootError(f"grpc.tcp_tls_cert: {cert_path}: no certificate in it; it must be PEM")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(cert_path, key_path, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BootError(
                f"grpc.tcp_tls_key: {key_path}: tls: private key does not match public key of {cert_path}"
            ) from error
        raise BootError(f"grpc.tcp_tls_key: {key_path}: no usable private key in it ({_reason(error)})") from error
    except OSError as error:
        raise BootError(f"grpc.tcp_tls_cert: {cert_path}: {error.strerror or error}") from error
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            return [f"grpc.tcp_tls_cert: {cert_path}: {error.verify_message}; every client will refuse it"]
        raise BootError(f"grpc.tcp_tls_cert: {cert_path}: tls: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise BootError(f"grpc.tcp_tls_cert: {cert_path}: tls: {_reason(error)}") from error
    return []


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Do a whole handshake of the two in memory. Raises the error of either side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(10):  # TLS 1.3 takes two rounds
        done = [_step(end) for end in ends]
        if all(done):
            return
    raise ssl.SSLError("the handshake does not come to an end")


def _step(end: ssl.SSLObject) -> bool:
    """Continue the handshake with the bytes that have arrived; return whether it is complete."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _checked_authority(paths: dict[str, str], authority: bytes | None) -> list[str]:
    """Warnings about the clients' authorities. Raises BootError."""
    if authority is None:
        return []
    path, context = paths["tcp_tls_ca"], ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if not _trust(context, authority):
        raise BootError(f"grpc.tcp_tls_ca: failed to load CA file: {path}: no certificate in it; it must be PEM")
    ends = [ssl.cert_time_to_seconds(str(found["notAfter"])) for found in context.get_ca_certs()]
    if ends and max(ends) < time.time():
        return [f"grpc.tcp_tls_ca: {path}: certificate has expired; every client will be refused"]
    return []


def _trust(context: ssl.SSLContext, pem: bytes) -> bool:
    """Trust all certificates in ``pem``; return whether there is one."""
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", errors="replace").replace("\ufffd", "?"))
    except (ssl.SSLError, ValueError):
        return False
    return context.cert_store_stats()["x509"] > 0


def _no_password() -> str:
    raise BootError("grpc.tcp_tls_key: is encrypted; give a key without a passphrase, readable by the daemon alone")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
