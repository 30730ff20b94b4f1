"""The TLS files of the TCP listener, checked when the daemon starts: a bad pair must not be found by the first client.

containerd accepts an authority file that holds no certificate, and then refuses every client; here it is an error.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from holdfast.config import Settings
from holdfast.errors import BootError


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials for the TCP listener; None for plaintext.

    Raises:
        BootError: a file is missing, unreadable or not what its key says, or the certificate is not the key's.
    """
    certificate, key, authority = (
        settings.grpc.tcp_tls_cert,
        settings.grpc.tcp_tls_key,
        settings.grpc.tcp_tls_ca,
    )
    if not certificate:
        return None
    chain, private = _read("tcp_tls_cert", certificate), _read("tcp_tls_key", key)
    _check_pair(certificate, key)
    roots = None
    if authority:
        roots = _read("tcp_tls_ca", authority)
        _check_authority(authority)
    return grpc.ssl_server_credentials([(private, chain)], roots, require_client_auth=roots is not None)


def _read(key: str, path: str) -> bytes:
    if not path:
        raise BootError(f"grpc.{key}: not set, but grpc.tcp_tls_cert is; a certificate needs its private key")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BootError(f"grpc.{key}: open {path}: {(error.strerror or str(error)).lower()}") from error


def _check_pair(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BootError(
                f"grpc.tcp_tls_key: {key}: tls: private key does not match public key of {certificate}"
            ) from error
        raise BootError(f"grpc.tcp_tls_cert: {certificate} with {key}: tls: {_reason(error)}") from error
    except OSError as error:
        raise BootError(f"grpc.tcp_tls_cert: {certificate}: {error.strerror or error}") from error


def _check_authority(path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise BootError(
            f"grpc.tcp_tls_ca: failed to load CA file: {path}: no certificate in it ({_reason(error)})"
        ) from error


def _no_password() -> str:
    raise BootError("grpc.tcp_tls_key: is encrypted; give a key without a passphrase, readable by the daemon alone")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
