import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from holdfast.client.connection import Target, errors_of
from holdfast.errors import Aborted, InvalidArgument, NotFound, from_status
from holdfast.status_details import packed, unpacked


def any_of(message):
    made = Any()
    made.Pack(message)
    return made


def test_reason_and_field_are_the_messages_of_the_standard():
    info, request = InvalidArgument("a: no", reason="INVALID_FIELD", field="a").status_details()
    unpacked_info, unpacked_request = ErrorInfo(), BadRequest()
    assert info.Unpack(unpacked_info)
    assert request.Unpack(unpacked_request)
    assert unpacked_info == ErrorInfo(reason="INVALID_FIELD", domain="holdfast.dev")
    (violation,) = unpacked_request.field_violations
    assert (violation.field, violation.description) == ("a", "a: no")


@pytest.mark.parametrize(("reason", "field"), [("", ""), ("A_REASON", ""), ("", "a.b"), ("A_REASON", "a.b")])
def test_a_client_reads_what_the_server_gave(reason, field):
    assert unpacked(packed(reason, field, "words")) == (reason, field)
    error = from_status(10, "words", packed(reason, field, "words"))
    assert (type(error), error.reason, error.field) == (Aborted, reason, field)


def test_an_error_without_either_has_no_details():
    assert NotFound("x").status_details() == ()


def test_an_error_with_details_of_its_own_sends_those():
    error = from_status(5, "words", (any_of(ErrorInfo(reason="THEIRS", domain="example.org")),))
    assert (error.reason, error.field) == ("", "")
    assert error.status_details() == error.details


def test_a_name_of_any_bytes_can_be_sent():
    assert unpacked(packed("R_R", "a", "file \udcff: no")) == ("R_R", "a")


BROKEN = Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
UNKNOWN = Any(type_url="type.googleapis.com/a.B", value=b"\xff")


def test_details_that_a_peer_broke_or_nobody_knows_are_passed_over():
    assert unpacked((BROKEN, UNKNOWN, *packed("R_R", "a", "x"))) == ("R_R", "a")
    assert unpacked((any_of(BadRequest()), BROKEN)) == ("", "")


class Refused(grpc.RpcError):
    """An answer of a server, as gRPC raises it."""

    def __init__(self, trailer):
        self._trailer = trailer

    def code(self):
        return grpc.StatusCode.NOT_FOUND

    def details(self):
        return "x: not found"

    def trailing_metadata(self):
        return self._trailer


@pytest.mark.parametrize(
    ("trailer", "reason"),
    [
        (None, ""),
        ((), ""),
        ((("grpc-status-details-bin", b"\xff\xff"),), ""),
        ((("grpc-status-details-bin", Status(code=5, details=packed("R_R", "", "")).SerializeToString()),), "R_R"),
    ],
)
def test_a_client_takes_any_trailer(trailer, reason):
    with pytest.raises(NotFound, match="x: not found") as caught, errors_of(Target("/x.sock")):
        raise Refused(trailer)
    assert caught.value.reason == reason
