"""Routes of the web endpoint: a listener for browsers on this machine, read-only, whose content plugins offer.

Any user of the machine reaches a port on the loopback interface, and so does any web page that a browser there shows.
A page of another site gets nothing: the request must name this listener by a loopback address (a page's own host name
may resolve to any address, ours too; and only there browsers say over HTTP where a request is from), and must come from
the address bar or from this listener's own page. The headers of an answer limit the browser: nothing is loaded from
elsewhere, and no script runs but ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.errors import ServedAlready
from holdfast.listener.http import Request, RequestRefused, Response, Route, Routes
from holdfast.plugin.services import Page, PageRequest, ShowPage
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.servers.pages import is_loopback

#: On every answer. A page names what else it needs in ``Page.policy``.
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


class WebPages:
    """Table of the pages, by path, that plugins register; `routes` has them when the listener opens.

    ``is_private``: the listener is a unix socket, whose mode admits its users.
    """

    def __init__(self, board: ServingBoard, *, is_private: bool) -> None:
        self._board, self._is_private = board, is_private
        self._own: Routes = {
            ("GET", "/healthz"): lambda _: _plain("ok"),
            ("GET", "/readyz"): lambda _: self._ready(),
        }
        self._shown: dict[str, ShowPage] = {}

    @property
    def services(self) -> Iterable[str]:
        """The paths registered so far."""
        return tuple(self._shown)

    def page(self, path: str, show: ShowPage) -> None:
        """Answer GET of ``path`` with what ``show`` returns.

        Raises:
            ServedAlready: there is a page at ``path``.
        """
        if path in self._shown or ("GET", path) in self._own:
            raise ServedAlready(path, f"page {path}")
        self._shown[path] = show

    def withdraw(self, service: str) -> None:
        """Have no page at the path ``service``."""
        del self._shown[service]

    def routes(self) -> Routes:
        """The routes of the pages, of ``/healthz`` and of ``/readyz``."""
        return {**{("GET", path): self._route(show) for path, show in self._shown.items()}, **self._own}

    def _route(self, show: ShowPage) -> Route:
        async def answer(request: Request) -> Response:
            return _response(await show(PageRequest(request.query, self._is_private)))

        return answer

    def _ready(self) -> Response:
        """Whether the daemon serves, as its health says over gRPC."""
        names = sorted(name for name in self._board.names() if name and not self._board.serves(name))
        if self._board.serves(""):
            return _plain("ok")
        return _plain("not serving" + "".join(f"\n{name}" for name in names), 503)


def guard_web(request: Request) -> None:
    """Accept only requests that a person, a program or this listener's own page makes.

    Raises:
        RequestRefused: it writes, names another host, or comes from another site's page.
    """
    if request.method not in ("GET", "HEAD"):
        raise RequestRefused(403, "this listener only reads")
    if not is_loopback(request.host):
        raise RequestRefused(403, "ask by loopback address, as in http://127.0.0.1:PORT/")
    if request.fetch_site not in ("none", "same-origin") or request.origin not in ("", f"http://{request.host}"):
        raise RequestRefused(403, "not for the pages of other sites")


def _plain(words: str, status: int = 200) -> Response:
    return _response(Page(f"{words}\n".encode(), status, "text/plain; charset=utf-8"))


def _response(page: Page) -> Response:
    policy = "; ".join((_POLICY, *page.policy))
    return Response(page.body, page.status, page.content_type, headers=(*_HEADERS, ("Content-Security-Policy", policy)))
