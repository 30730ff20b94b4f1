"""Real ``ctr``, and ``containerd publish``, talk to our daemon as they do to containerd."""

from __future__ import annotations

import json

import pytest

from tests.needs import peer
from tests.peers.case import an_exit, ctr, publish

pytestmark = peer("containerd", "ctr")

#: What a containerd user's ``ctr plugins ls`` of our chassis must list as ok.
BUILT_IN = {
    ("io.containerd.event.v1", "exchange"),
    ("io.containerd.service.v1", "introspection-service"),
    ("io.containerd.grpc.v1", "introspection"),
    ("io.containerd.grpc.v1", "events"),
    ("io.containerd.grpc.v1", "healthcheck"),
    ("io.containerd.grpc.v1", "version"),
}


def as_we_say(words):
    """Containerd's words without two slips: it names a class twice, and forgets the code of a bad filter."""
    words = words.replace("invalid argument: invalid argument", "invalid argument")
    return words.replace("code = Unknown desc = subscription error", "code = InvalidArgument desc = subscription error")


def test_version_names_the_server_and_its_persistent_uuid(ours):
    daemon = ours()
    first, second = ctr(daemon, "version"), ctr(daemon, "version")
    assert (first.returncode, first.stderr) == (0, "WARNING: version mismatch\nWARNING: revision mismatch\n")
    server = first.stdout.partition("Server:")[2]
    assert "Version:" in server
    assert len(server.partition("UUID:")[2].strip()) == 36
    assert second.stdout == first.stdout


def test_the_uuid_survives_a_restart(ours, short_dir):
    first = ours()
    uuid = ctr(first, "version").stdout.partition("UUID:")[2].strip()
    first.stop()
    again = ours(arguments=("--root", str(first.dir / "root")))
    assert uuid == ctr(again, "version").stdout.partition("UUID:")[2].strip()


def test_plugins_are_listed_with_their_states(ours):
    done = ctr(ours(), "plugins", "ls")
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert {(kind, name) for kind, name, *_, state in rows if state == "ok"} >= BUILT_IN
    assert {row[-1] for row in rows} <= {"ok", "skip"}


def test_plugins_in_detail_name_requirements_and_the_reason_of_a_failure(ours):
    daemon = ours(top='disabled_plugins = ["io.containerd.event.v1.exchange"]')
    words = ctr(daemon, "plugins", "ls", "-d", "id==events").stdout.split()
    assert words[words.index("Requires:") + 1] == "io.containerd.event.v1"
    assert words[words.index("Code:") + 1] == "NotFound"
    assert " ".join(words).endswith("Message: no plugins registered for io.containerd.event.v1: not found")


def test_plugins_are_filtered_by_the_filter_language(ours):
    daemon = ours()
    rows = ctr(daemon, "plugins", "ls", "id==version,type~=grpc").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in rows] == [["io.containerd.grpc.v1", "version"]]
    bad = ctr(daemon, "plugins", "ls", "id==")
    assert bad.returncode == 1
    assert "invalid argument" in bad.stderr


def test_a_published_event_comes_out_of_ctr_events(ours, subscribed):
    daemon = ours()
    events = subscribed(daemon)
    assert publish(daemon, "/tasks/exit", payload=an_exit("web")).returncode == 0
    words = events.line("/tasks/exit").split(maxsplit=6)
    assert words[4:6] == ["hf", "/tasks/exit"]
    assert json.loads(words[6])["container_id"] == "web"


def test_a_filter_lets_only_its_events_through(ours, subscribed):
    daemon = ours()
    events = subscribed(daemon, 'topic~="^/tasks/"')
    for topic in ("/images/create", "/tasks/exit"):
        assert publish(daemon, topic, payload=an_exit("web")).returncode == 0
    events.line("/tasks/exit")
    assert not [line for line in events.out if "/images" in line]


@pytest.mark.parametrize("topic", ["my", "/", "", "/a b", "/a//b"])
def test_a_bad_topic_is_refused_in_the_words_of_containerd(ours, theirs, topic):
    mine, real = publish(ours(), topic, payload=an_exit("web")), publish(theirs(), topic, payload=an_exit("web"))
    assert mine.returncode == 1
    assert (mine.returncode, mine.stderr) == (real.returncode, real.stderr)


@pytest.mark.parametrize("namespace", ["", "bad ns!", "x" * 77])
def test_a_bad_namespace_is_refused_in_the_words_of_containerd(ours, theirs, namespace):
    mine, real = (publish(start(), "/a/b", payload=an_exit("web"), namespace=namespace) for start in (ours, theirs))
    assert mine.returncode == 1
    assert (mine.returncode, mine.stderr) == (real.returncode, real.stderr)


@pytest.mark.parametrize("words", [("plugins", "ls", "bad=="), ("events", "bad==")], ids=" ".join)
def test_a_bad_filter_is_refused_in_the_words_of_containerd(ours, theirs, words):
    mine, real = ctr(ours(), *words), ctr(theirs(), *words)
    assert mine.returncode == 1
    assert (mine.returncode, mine.stderr) == (real.returncode, as_we_say(real.stderr))


def test_a_subscriber_that_is_killed_is_forgotten_and_the_daemon_lives(ours, subscribed):
    import signal

    daemon = ours()
    subscribed(daemon).stop(signal.SIGKILL)
    for _ in range(20):
        assert publish(daemon, "/tasks/exit", payload=an_exit("web")).returncode == 0
    assert ctr(daemon, "version").returncode == 0
