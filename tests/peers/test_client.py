"""Our client commands ask a real containerd what ctr asks it, and show the same."""

import json

import pytest

from tests.needs import peer
from tests.peers.case import ctr
from tests.peers.daemon import ENVIRON, HOLDFAST
from tests.running import Running

pytestmark = [peer("containerd", "ctr"), pytest.mark.root]
EVENT = '{"@type": "containerd.events.TaskOOM", "container_id": "c1"}'


def asked(daemon, *words, stdin=None):
    """Return what a command printed; it must end well."""
    with Running([*HOLDFAST, *words, "-a", daemon.address], env=ENVIRON, stdin=stdin) as running:
        assert running.end() == 0, running.said
        return running.out


def rows(lines):
    return [line.split() for line in lines]


def facts(text):
    """Each fact of a detailed listing as one word list; ctr also writes a code and a message on lines of their own."""
    return [line.split() for line in text.splitlines() if line.split() and not line.startswith("Error:")]


def test_plugins_are_the_same_rows(theirs):
    daemon = theirs()
    for filters in ([], ["type~=snapshotter"], ["id==version", "id==content"]):
        expected = rows(ctr(daemon, "plugins", "ls", *filters).stdout.splitlines())
        assert rows(asked(daemon, "plugins", "ls", "--all", *filters)) == expected


def test_details_are_the_same_facts(theirs):
    daemon = theirs()
    expected = ctr(daemon, "plugins", "ls", "-d", "id~=^(native|exchange)$").stdout
    assert facts("\n".join(asked(daemon, "plugins", "ls", "-d", "id~=^(native|exchange)$"))) == facts(expected)


def test_the_servers_version_and_uuid_are_the_same(theirs):
    daemon = theirs()
    expected = ctr(daemon, "version").stdout
    server = json.loads("\n".join(asked(daemon, "version", "-o", "json")))["server"]
    assert all(server[name] in expected.partition("Server:")[2] for name in ("version", "revision", "uuid"))


def test_events_go_through_containerd_from_our_publish_to_our_events(theirs):
    daemon = theirs()
    with Running([*HOLDFAST, "events", 'topic=="/tasks/oom"', "-a", daemon.address], env=ENVIRON) as events:
        while not events.out:
            assert not events.ended(), events.said
            asked(daemon, "publish", "--json", "--topic", "/tasks/oom", stdin=EVENT.encode())
        assert events.out[0].split(" ", 1)[1] == f"default /tasks/oom {EVENT}"


def test_containerds_health_is_asked_like_ours(theirs):
    assert asked(theirs(), "health") == ["SERVING"]
