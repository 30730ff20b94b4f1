"""The page in a real Chromium: keyboard and screen readers, 10,000 processes, hostile names, no request elsewhere."""

import asyncio
import contextlib
import http.server
import socket
import threading

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.listener.connections import ConnectionMetrics, Connections
from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.http import HttpServer
from holdfast.plugins.servers.web_pages import WebPages, guard_web

from tests.fakes.placement_api import PlacementApi
from tests.needs import peer
from tests.peers.browser import ENTER, TAB, Browser
from tests.running import PATIENCE_S, until
from tests.unit.plugins.web.site import pages_of

pytestmark = [peer("chromium", "chromedriver"), pytest.mark.timeout(300)]
OWNED = "document.title='owned'"
HOSTILE = f'</td><script>{OWNED}</script><img src=http://evil.example/x onerror="{OWNED}">'
HEBREW = "\u05d0\u05d1"
TALL = "a" + "\u0303" * 120  # one letter under 120 tildes: a name of a cgroup may have 255 bytes
PROCESSES = 10_000


def api():
    placements = [
        pb.PlacementInfo(pid=pid, comm=f"worker-{pid}", rule="batch", state="held", group=f"/jobs/{pid}")
        for pid in range(10, PROCESSES + 10)
    ]
    missing = pb.Refusal(reason="capability", detail="CAP_SYS_RESOURCE is missing: add it to the unit")
    placements[0] = pb.PlacementInfo(pid=10, comm=HOSTILE, rule="batch", state="refused", refusals=[missing])
    placements[2] = pb.PlacementInfo(pid=12, comm="tall", rule="batch", state="held", group=f"/{TALL}")
    order = pb.Order(candidates=[pb.Candidate(pid=11, comm=HOSTILE, points=300_000, memory_pages=9000, rule="batch")])
    kill = pb.Kill(at=Timestamp(seconds=1_764_000_000), pid=9, comm=HOSTILE, domain="/", rule="batch", rss_pages=512)
    kill.predicted.extend([pb.Standing(pid=9, comm=HOSTILE, points=512), pb.Standing(pid=8, comm=HEBREW, points=256)])
    rule = pb.RuleInfo(name="batch", reason="it can be run again", yaml="name: batch\n", processes={"held": PROCESSES})
    return PlacementApi(
        Status=pb.StatusResponse(last_sweep_processes=PROCESSES, pressure_pct={"memory_some": 1.5}),
        ListRules=pb.ListRulesResponse(rules=[rule]),
        ListPlacements=pb.ListPlacementsResponse(placements=placements),
        Kills=pb.KillsResponse(kills=[kill], page_bytes=4096),
        Victims=pb.VictimsResponse(
            rankings=[pb.Ranking(domain="/", limit_pages=10**6, processes=PROCESSES, now=order, after_rules=order)],
            page_bytes=4096,
        ),
        Explain=pb.ExplainResponse(process=pb.Process(pid=10, comm=HOSTILE, cmdline=["secret"]), notes=["secret"]),
    )


@contextlib.contextmanager
def serving(guard=guard_web):
    """The page over an API of 10,000 processes, in a thread of its own; gives its address."""
    loop, up, sock = asyncio.new_event_loop(), threading.Event(), socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()

    async def serve():
        jobs = []
        pages, board = pages_of(api(), lambda _, job: jobs.append(asyncio.ensure_future(job())))
        made = WebPages(board, is_private=False)
        pages.register_web(made)
        table = Connections("web", ConnectionBound(16, 16), ConnectionMetrics())
        server = HttpServer(made.routes(), table, guard)
        server.start(sock)
        up.set()
        await stop.wait()
        await server.close()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    port = sock.getsockname()[1]
    thread.start()
    assert up.wait(PATIENCE_S)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()


@pytest.fixture(scope="module")
def page():
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


def paths(browser, page):
    """The pages that links lead to, from the first one on."""
    browser.open(page)
    return ["/", *browser.run("return [...document.links].map(one => one.getAttribute('href'))")]


def test_no_page_asks_another_host_or_breaks_its_policy(browser, page):
    browser.open(page)
    browser.requests()
    browser.complaints()
    found = {path for path in paths(browser, page) if path.startswith("/")}
    assert {"/", "/processes", "/processes?rule=batch", "/process?pid=11", "/readyz", "/healthz"} <= found
    for path in sorted(found):
        browser.open(page + path)
        assert "owned" not in browser.run("return document.title")
        assert browser.elements("img") == []
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert asked
    assert all(address.startswith(page) for address in asked), asked
    assert browser.complaints() == []


ATTACK = """<!doctype html><title>evil</title><body><script>
const [port, asked] = [PORT, []];
const hosts = ["evil.example", "127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:0:0]"];
function insert(tag, attribute, address) {
  return new Promise(done => {
    const one = document.createElement(tag);
    one.onload = one.onerror = done;
    setTimeout(done, 3000);
    if (tag === "link") one.rel = "stylesheet";
    one[attribute] = address;
    document.body.append(one);
  });
}
async function reads(address, mode) {
  try { return (await (await fetch(address, {mode})).text()).length; } catch { return 0; }
}
(async () => {
  let read = 0;
  for (const host of hosts) {
    const address = `http://${host}:${port}/process?pid=11`;
    const ways = [["img", "src"], ["script", "src"], ["link", "href"], ["iframe", "src"], ["object", "data"]];
    await Promise.all(ways.map(([tag, attribute]) => insert(tag, attribute, address)));
    for (const mode of ["no-cors", "cors"]) read += await reads(address, mode);
    const form = document.createElement("form");
    const frame = document.createElement("iframe");
    frame.name = form.target = `form ${host}`;
    form.method = "post";
    form.action = address;
    document.body.append(frame, form);
    const sent = new Promise(done => { frame.onload = done; setTimeout(done, 3000); });
    form.submit();
    await sent;
  }
  window.end = {read, hosts: hosts.length};
})();
</script>"""


@contextlib.contextmanager
def a_page_of_another_site(port):
    """A web server with a page that asks the port by every name of this machine; gives its own port."""

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(ATTACK.replace("PORT", str(port)).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("site", ["evil.example", "127.0.0.1"])
def test_a_page_of_another_site_reaches_nothing_by_any_name_of_this_machine(tmp_path, site):
    """``evil.example`` is a name of this machine for the browser, as after DNS rebinding."""
    asked, reached = [], []

    def guard(request):
        asked.append(request.host)
        guard_web(request)
        reached.append((request.host, request.path))

    with (
        serving(guard) as address,
        a_page_of_another_site(int(address.rpartition(":")[2])) as port,
        Browser(tmp_path, names="MAP evil.example 127.0.0.1") as browser,
    ):
        browser.open(f"http://{site}:{port}/")
        end = until(lambda: browser.run("return window.end"), "every way is tried", 120)
    assert end["read"] == 0
    assert len(set(asked)) == end["hosts"]
    assert reached == []


def test_a_name_moves_neither_the_numbers_beside_it_nor_the_lines_above_it(browser, page):
    browser.open(page)
    browser.run("document.querySelector('details').open = true")
    assert HEBREW in browser.text("details li:last-child")
    lefts = browser.run(PLACES, "details li:last-child")
    assert lefts == sorted(lefts)
    browser.open(f"{page}/processes?rule=batch")
    above = browser.elements("tbody tr:nth-child(2) td:nth-child(8)")[0]
    shown = browser.picture_of(above)
    assert TALL in browser.text("tbody tr:nth-child(3)")
    browser.run("document.querySelector('tbody tr:nth-child(3) td:nth-child(8)').textContent = '/a'")
    assert browser.picture_of(above) == shown


#: The left edge of each character of an element's text.
PLACES = """
const text = document.querySelector(arguments[0]).firstChild, range = document.createRange();
return [...text.data].map((_, at) => {
  range.setStart(text, at);
  range.setEnd(text, at + 1);
  return range.getBoundingClientRect().left;
});
"""


def test_10_000_processes_are_a_small_page_that_is_painted_at_once(browser, page):
    browser.open(f"{page}/processes?rule=batch")
    assert f"of {PROCESSES}" in browser.text("caption")
    assert browser.run("return document.getElementsByTagName('*').length") < 2000
    size = browser.run("return performance.getEntriesByType('navigation')[0].decodedBodySize")
    painted = until(
        lambda: browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"),
        "the page is painted",
    )
    assert size < 128 << 10
    print(f"first contentful paint after {painted:.0f} ms, {size} bytes")  # noqa: T201
    assert painted < PATIENCE_S * 1000  # 132 ms where nothing else runs; a crowded machine takes its time


def test_everything_is_reached_by_the_keyboard_and_shows_the_focus(browser, page):
    browser.open(page)
    wanted = set(browser.elements("a, button, summary, .scroll, input"))
    reached = []
    for _ in range(len(wanted)):
        browser.press(TAB)
        reached.append(browser.focused())
    assert set(reached) == wanted
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_filter_is_typed_and_a_process_is_opened_without_a_mouse(browser, page):
    browser.open(f"{page}/processes?rule=batch")
    browser.press("/")
    assert browser.name(browser.focused()) == "Only with this text"
    browser.press(f"worker-777{ENTER}")
    until(lambda: "q=worker-777" in browser.run("return location.search"), "the filtered page")
    until(lambda: "of 11" in browser.text("caption"), "its rows")
    browser.run("document.querySelector('tbody a').focus()")
    browser.press(ENTER)
    until(lambda: browser.run("return location.pathname") == "/process", "the process")
    assert "secret" not in browser.text("main")


def test_a_screen_reader_has_a_name_for_all_that_it_meets(browser, page):
    browser.open(page)
    for selector in ("a", "button", "summary", "nav", ".scroll", "table"):
        for element in browser.elements(selector):
            assert browser.name(element), f"a {selector} without a name"
    roles = {selector: browser.role(browser.elements(selector)[0]) for selector in ("main", "nav", "h2", "table", "th")}
    assert roles == {"main": "main", "nav": "navigation", "h2": "heading", "table": "table", "th": "columnheader"}
    assert browser.run("return document.documentElement.lang") == "en"


def test_the_content_is_refreshed_in_place_when_that_is_wanted(browser, page):
    browser.open(page)
    browser.run("document.querySelector('details').open = true; document.querySelector('h2').textContent = 'old'")
    browser.run("document.getElementById('refresh').click()")
    until(lambda: browser.text("h2") == "State", "the new content")
    assert browser.run("return document.querySelector('details').open"), "it stays open"
    assert browser.run("return document.getElementById('refresh').getAttribute('aria-pressed')") == "true"
    browser.run("document.getElementById('refresh').click()")


def test_without_scripts_the_tables_are_there_and_no_button_that_does_nothing(tmp_path, page):
    with Browser(tmp_path, scripts=False) as browser:
        browser.open(page)
        captions = [browser.text("main table caption")]
        assert captions == ["the node: 3906.2 MiB, 10000 processes"]
        assert browser.run("return getComputedStyle(document.getElementById('refresh')).display") == "none"
        assert len(browser.elements("main table")) == 4


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_are_both_readable(tmp_path, page, dark):
    with Browser(tmp_path, dark=dark) as browser:
        browser.open(page)
        assert browser.run("return matchMedia('(prefers-color-scheme: dark)').matches") is dark
        for selector in ("body", "a", "dt", ".good", ".scroll caption"):
            assert browser.run(CONTRAST, selector) >= 4.5, f"{selector}: WCAG asks for 4.5"


#: The contrast of a text to the ground of the page (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
CONTRAST = """
const light = color => {
  const parts = color.match(/[0-9.]+/g).slice(0, 3).map(one => one / 255);
  const [r, g, b] = parts.map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const text = light(getComputedStyle(document.querySelector(arguments[0])).color);
const ground = light(getComputedStyle(document.body).backgroundColor);
return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
"""
