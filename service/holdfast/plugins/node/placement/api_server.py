"""The Kubernetes API server as a pod finds it: one request a connection, with the service account's token."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from holdfast.identifiers import whole_number

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 10.0
_MOST_ANSWER = 1 << 16
#: The content type of a body, by method.
_TYPES = {"POST": "application/json", "PATCH": "application/merge-patch+json"}


class ApiServer(Struct, frozen=True):
    """Its address, and the folder with the account's token and the CA."""

    host: str
    port: int
    account: Path = ACCOUNT

    @classmethod
    def of(cls, environ: Mapping[str, str], account: Path = ACCOUNT) -> ApiServer | None:
        """Return the server that the kubelet names to containers; None outside a pod, or without a mounted token."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        if not host or whole_number(port) is None or not (account / "token").exists():
            return None
        return cls(host, int(port), account)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        """Return the status and the server's message. Blocks; the token is read each time, as the kubelet renews it.

        Raises:
            OSError: no connection, no response, or the certificate is another server's.
            ValueError: the token is damaged.
        """
        token = _token_of((self.account / "token").read_text())
        trusted = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        # Python 3.13 sets it. The CAs of many clusters lack what RFC 5280 asks for, and no other client minds.
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=trusted)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": _TYPES[method]}
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, _said(answer.read(_MOST_ANSWER))
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


def _token_of(text: str) -> str:
    """Return the token in a file's text; an error must not quote it, as an error about a header would."""
    token = text.strip()
    if not token.isascii() or not token.isprintable():
        raise ValueError("the service account's token is damaged")
    return token


def _said(answer: bytes) -> str:
    try:
        message = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.decode(errors="replace")
    return " ".join(str(message).split())[:300]
