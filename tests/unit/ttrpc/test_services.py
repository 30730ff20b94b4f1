import pytest
from holdfast.errors import AlreadyExists, FailedPrecondition
from holdfast.ttrpc import Kind, Method, envelope
from holdfast.ttrpc.server_connection import CallRefused
from holdfast.ttrpc.services import Services

from tests.unit.ttrpc.harness import Text, request


async def handler(request, call):
    return Text()


def services(*interceptors):
    made = Services(interceptors)
    made.register("a.B", {"C": Method(handler, Text, Text), "D": (handler, Text, Text, True, True)})
    return made


def test_a_method_is_found_with_the_rest_of_its_request():
    bound, parts = services().resolve(request("C", b"p", "a.B", timeout_nano=7))
    assert (bound.full_method, bound.kind, bound.handler) == ("/a.B/C", Kind.UNARY, handler)
    assert parts == envelope.Parts(b"p", 7, ())


def test_a_plain_tuple_registers_as_a_method_does():
    assert services().resolve(request("D", b"", "a.B"))[0].kind is Kind.BIDI_STREAM


def test_a_method_is_found_in_an_encoding_nobody_uses_too():
    backwards = b"\x12\x01C" + b"\x0a\x03a.B"
    assert services().resolve(backwards)[0].full_method == "/a.B/C"


@pytest.mark.parametrize(
    ("service", "method", "text"),
    [("x.Y", "C", "service x.Y"), ("a.B", "Z", "method Z"), ("", "", "service "), ("a.B", "", "method ")],
)
def test_what_nobody_serves_is_refused_in_go_s_words(service, method, text):
    with pytest.raises(CallRefused) as refused:
        services().resolve(request(method, b"", service))
    assert (refused.value.code, refused.value.text) == (12, text)


def test_a_service_is_registered_once():
    with pytest.raises(AlreadyExists, match=r"duplicate service a\.B registered"):
        services().register("a.B", {})


@pytest.mark.parametrize(("service", "methods"), [("", {}), ("a.X", {"": Method(handler, Text, Text)})])
def test_services_and_methods_have_names(service, methods):
    with pytest.raises(FailedPrecondition):
        services().register(service, methods)


def test_interceptors_wrap_once_at_registration_the_first_outermost():
    seen = []

    def named(name):
        def wrap(full_method, kind, inner):
            seen.append((name, full_method, kind))
            return lambda request, call: (name, inner(request, call))

        return wrap

    made = Services((named("outer"), named("inner")))
    made.register("a.B", {"C": Method(lambda request, call: "result", Text, Text)})
    assert seen == [("inner", "/a.B/C", Kind.UNARY), ("outer", "/a.B/C", Kind.UNARY)]
    bound, _ = made.resolve(request("C", b"", "a.B"))
    assert bound.handler(None, None) == ("outer", ("inner", "result"))
    assert len(seen) == 2


def test_methods_lists_what_a_counter_wants_to_exist_before_the_first_call():
    assert list(services().methods()) == [("/a.B/C", Kind.UNARY), ("/a.B/D", Kind.BIDI_STREAM)]
