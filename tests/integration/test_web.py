"""The page of a real daemon: over the loopback interface, and over a unix socket, which has command lines."""

import http.client
import json
import os
import re
import socket

import pytest

from tests.needs import root
from tests.peers.daemon import holdfast

pytestmark = root


class OverUnix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def port_of(daemon):
    return int(re.search(r"127\.0\.0\.1:(\d+)", daemon.line(r'serving.*listener="web endpoint"'))[1])


@pytest.fixture
def start(short_dir):
    started = []

    def begin(web, **more):
        rule = {"name": "tested", "match": {"comm": "no-such-name"}, "oom_score_adj": 5}
        section = {"builtin_rules": "none", "rules": [rule]}
        config = {
            "root": f"{short_dir}/r",
            "state": f"{short_dir}/s",
            "grpc": {"address": f"{short_dir}/s.sock"},
            "metrics": {"address": ""},
            "web": {"address": web},
            "plugins": {"io.holdfast.placement.v1.rules": section},
            **more,
        }
        (short_dir / "c.yaml").write_text(json.dumps(config))
        daemon = holdfast(short_dir, short_dir / "c.yaml")
        started.append(daemon)
        return daemon.ready()

    yield begin
    for daemon in started:
        daemon.__exit__()


def test_a_port_has_the_page_and_no_command_lines(start):
    daemon = start("127.0.0.1:0")
    port = port_of(daemon)

    def ask(path):
        return get(http.client.HTTPConnection("127.0.0.1", port, timeout=30), path)

    status, page = ask("/")
    assert status == 200
    for words in ("serves", "dry run: nothing is written", "the node: ", "tested", "Nothing is refused."):
        assert words in page
    rebound = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    rebound.request("GET", "/", headers={"Host": "rebound.example"})
    assert rebound.getresponse().status == 403
    rebound.close()
    status, page = ask(f"/process?pid={daemon.pid}")
    assert (status, "only on the node" in page, "-m holdfast" in page) == (200, True, False)
    assert [ask(path) for path in ("/readyz", "/healthz")] == [(200, "ok\n")] * 2
    assert ask("/processes?rule=tested&q=%1b%00")[0] == 200
    assert ask("/nothing")[0] == 404
    assert daemon.stop() == 0


def test_a_socket_has_command_lines_for_the_users_of_its_mode(start, short_dir):
    path = f"{short_dir}/web.sock"
    daemon = start(path)
    assert os.stat(path).st_mode & 0o777 == 0o660
    status, page = get(OverUnix(path), f"/process?pid={daemon.pid}")
    assert (status, "-m holdfast" in page) == (200, True)
    assert daemon.stop() == 0
    assert not os.path.exists(path)


def test_without_placement_the_page_says_so_and_is_there(start):
    daemon = start("127.0.0.1:0", disabled_plugins=["io.holdfast.placement.v1.rules"])
    port = port_of(daemon)
    status, page = get(http.client.HTTPConnection("127.0.0.1", port, timeout=30), "/")
    assert (status, "placement does not run" in page) == (200, True)
