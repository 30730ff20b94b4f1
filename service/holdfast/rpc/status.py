"""Our codes as grpc's: both are the same integers, grpc only wraps them."""

from __future__ import annotations

import grpc

from holdfast.errors import Code

STATUS_CODES: dict[Code, grpc.StatusCode] = {Code(status.value[0]): status for status in grpc.StatusCode}
