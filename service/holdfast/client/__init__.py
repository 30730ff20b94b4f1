"""A daemon's API for Python programs: `Client` for asyncio, `SyncClient` for the others.

Both have the same methods. Their answers are the API's messages, and their errors are those of `holdfast.errors`.

- `aio`, `sync`: the two clients
- `calls`: each call as a value: its method, its request, and the part of the answer that the caller gets
- `resumption`: the place of a watch, for the next connection after a lost one
- `connection`: addresses, TLS, and the errors of a connection; the commands use it as well
"""

from holdfast.client.aio import Client
from holdfast.client.connection import Tls
from holdfast.client.sync import SyncClient

__all__ = ["Client", "SyncClient", "Tls"]
