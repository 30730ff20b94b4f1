"""The part of an error that is for programs, as messages of a status: google.rpc.ErrorInfo and google.rpc.BadRequest.

https://google.aip.dev/193 has their meaning: a reason is a constant of a domain, and a violation names a field of the
request. Both transports send them: gRPC in the trailer ``grpc-status-details-bin``, ttrpc in its status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DOMAIN = "holdfast.dev"
MAX_DESCRIPTION = 512  # characters of the sentence that a violation repeats


def packed(reason: str, field: str, sentence: str) -> tuple[Any, ...]:
    """Return the google.protobuf.Any messages with a reason and a field of the request; none for what is empty."""
    if not (reason or field):
        return ()
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

    messages: list[Any] = [ErrorInfo(reason=reason, domain=DOMAIN)] if reason else []
    if field:
        words = sentence[:MAX_DESCRIPTION].encode(errors="replace").decode()  # it may name a file of any bytes
        violation = BadRequest.FieldViolation(field=field, description=words)
        messages.append(BadRequest(field_violations=[violation]))
    details = tuple(AnyMessage() for _ in messages)
    for detail, message in zip(details, messages, strict=True):
        detail.Pack(message)
    return details


def unpacked(details: Iterable[Any]) -> tuple[str, str]:
    """Return the reason, if it is of `DOMAIN`, and the first field; empty where a peer sent none, or broken ones."""
    reason = field = ""
    for detail in details:
        from google.protobuf.message import DecodeError
        from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

        info, request = ErrorInfo(), BadRequest()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = reason or info.reason
            elif detail.Unpack(request) and request.field_violations:
                field = field or request.field_violations[0].field
        except DecodeError:
            continue
    return reason, field
