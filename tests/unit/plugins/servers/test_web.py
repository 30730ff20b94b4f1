"""The listener for browsers: the requests that are answered, and the headers of the answers."""

import pytest
from holdfast.errors import NotFound, ServedAlready
from holdfast.plugin.services import Page
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.servers.pages import is_address
from holdfast.plugins.servers.web_pages import WebPages, guard_web

from tests.unit.listener.test_http import ask, serving

NAMED = {"Host": "127.0.0.1:9421"}


async def hello(request):
    if request.query.get("fail"):
        raise NotFound("it")
    return Page(f"{request.query} {request.is_private}".encode(), policy=("img-src data:",))


def pages(*, is_private=False):
    board = ServingBoard()
    made = WebPages(board, is_private=is_private)
    made.page("/", hello)
    return made, board


@pytest.mark.parametrize("is_private", [False, True])
async def test_a_page_gets_the_query_and_whether_the_listener_is_private(is_private):
    made, _ = pages(is_private=is_private)
    async with serving(made.routes(), guard=guard_web) as (address, _):
        status, headers, body = await ask(address, "GET", "/?a=b", **NAMED)
    assert (status, body) == (200, f"{{'a': 'b'}} {is_private}".encode())
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src data:"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"Host": "localhost:9421"}, 200),
        ("GET", {"Host": "[::1]:9421"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("GET", {"Sec-Fetch-Site": "none"}, 200),
        ("GET", {"Origin": "http://127.0.0.1:9421"}, 200),
        ("GET", {"Host": "127.1.2.3"}, 200),
        ("GET", {"Host": "evil.example"}, 403),
        ("GET", {"Host": ""}, 403),
        ("GET", {"Host": "0.0.0.0:9421"}, 403),
        ("GET", {"Host": "[::]:9421"}, 403),
        ("GET", {"Host": "[::ffff:127.0.0.1]:9421"}, 403),
        ("GET", {"Host": "[::ffff:7f00:1]"}, 403),
        ("GET", {"Host": "[::ffff:0:0]"}, 403),
        ("GET", {"Host": "10.0.0.1:9421"}, 403),
        ("GET", {"Host": "localhost.:9421"}, 403),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Origin": "http://127.0.0.1:8000"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site"}, 403),
        ("PUT", {}, 403),
        ("POST", {}, 403),
    ],
)
async def test_only_a_person_a_program_and_our_own_page_are_answered(method, headers, status):
    made, _ = pages()
    async with serving(made.routes(), guard=guard_web) as (address, _):
        assert (await ask(address, method, "/", **{**NAMED, **headers}))[0] == status


@pytest.mark.parametrize("host", ["0.0.0.0:9422", "[::]", "[::ffff:127.0.0.1]:9422", "[::ffff:0:0]", "", "x"])
def test_names_of_this_machine_that_browsers_do_not_take_for_it_are_no_addresses(host):
    assert not is_address(host)
    assert is_address("10.0.0.1:9422")


async def test_healthz_is_the_loop_and_readyz_is_the_daemons_health():
    made, board = pages()
    async with serving(made.routes(), guard=guard_web) as (address, _):
        board.set("", True)
        board.set("a.Service", True)
        assert (await ask(address, "GET", "/healthz", **NAMED))[::2] == (200, b"ok\n")
        assert (await ask(address, "GET", "/readyz", **NAMED))[::2] == (200, b"ok\n")
        board.drain()
        assert (await ask(address, "GET", "/readyz", **NAMED))[::2] == (503, b"not serving\na.Service\n")
        assert (await ask(address, "GET", "/healthz", **NAMED))[0] == 200


async def test_an_error_of_a_page_is_an_answer():
    made, _ = pages()
    async with serving(made.routes(), guard=guard_web) as (address, _):
        assert (await ask(address, "GET", "/?fail=1", **NAMED))[::2] == (400, b"it: not found\n")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_a_path_has_one_page(path):
    made, _ = pages()
    with pytest.raises(ServedAlready, match=f"page {path}"):
        made.page(path, hello)
    assert list(made.services) == ["/"]


async def test_a_page_that_is_withdrawn_is_not_there():
    made, _ = pages()
    made.withdraw("/")
    async with serving(made.routes(), guard=guard_web) as (address, _):
        assert (await ask(address, "GET", "/", **NAMED))[0] == 404
