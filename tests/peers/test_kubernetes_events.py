"""Kubernetes Events about refused annotations. The API server is a fake; TLS and HTTP are real."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import contextmanager

import pytest
from holdfast.node.model.memory_domain import Kill
from holdfast.node.rule.annotation import Ask
from holdfast.plugins.node.placement import kill_series
from holdfast.plugins.node.placement import recorder as module
from holdfast.plugins.node.placement.api_server import ApiServer
from holdfast.plugins.node.placement.recorder import WAITING, Recorder
from holdfast.pods.record import PodRecord

from tests.fakes.api_server import FORBIDDEN, FakeApiServer, listening
from tests.fakes.cri import FakeRuntime
from tests.needs import peer
from tests.peers.conftest import certificates_in
from tests.peers.daemon import ENVIRON
from tests.peers.in_pod import account_at, environ, in_a_pod
from tests.peers.in_pod import daemon as daemon_command

pytestmark = peer("openssl")
POD = PodRecord("s", "1d5fb235-0000-4000-8000-000000000000", "db", "pg-0")
REFUSED = (Ask("oom-score-adj", "10", "10 is not within 0 and 9"), Ask("protect", "leader", 'namespace "db" may not'))


@pytest.fixture
def account(tmp_path, certificates):
    return account_at(tmp_path, certificates)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))


async def until(recorder, **wanted):
    def now():
        return results(recorder, module.REFUSED)

    async with asyncio.timeout(30):
        while now() != wanted:
            await asyncio.sleep(0.01)


@contextmanager
def recording(port, account):
    recorder = Recorder(ApiServer("127.0.0.1", port, account), "node-7")
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close()


async def test_what_is_refused_is_an_event_on_the_pod(certificates, account):
    fake = FakeApiServer()
    with listening(certificates, fake) as port, recording(port, account) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, written=1)
        (account / "token").write_text("renewed")
        recorder.tell(POD, REFUSED[:1])
        await until(recorder, written=2)
    (path, headers, body), (_, renewed, _) = fake.seen
    assert path == "/api/v1/namespaces/db/events"
    assert (headers["Authorization"], renewed["Authorization"]) == ("Bearer first", "Bearer renewed")
    assert body["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "db", "name": "pg-0", "uid": POD.uid,
    }  # fmt: skip
    assert (body["type"], body["reason"], body["source"]) == (
        "Warning",
        "AnnotationRefused",
        {"component": "holdfast", "host": "node-7"},
    )
    assert body["metadata"] == {"generateName": "pg-0.", "namespace": "db"}
    assert body["message"] == (
        'holdfast.dev/oom-score-adj: 10: 10 is not within 0 and 9; holdfast.dev/protect: leader: namespace "db" may not'
    )


@pytest.mark.parametrize("extensions", [(), ("keyUsage=critical,keyCertSign,cRLSign",)], ids=["silent", "key usage"])
async def test_a_clusters_authority_says_what_its_key_is_for_or_does_not(tmp_path, extensions):
    """kubeadm's does, many a home-made one does not; Python 3.13 requires it by default."""
    certificates = certificates_in(tmp_path, *extensions)
    fake = FakeApiServer()
    with listening(certificates, fake) as port, recording(port, account_at(tmp_path, certificates)) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, written=1)


async def test_a_busy_server_is_asked_again_and_one_that_forbids_is_not(certificates, account, caplog):
    fake = FakeApiServer(503, 429, 0, 403)
    with listening(certificates, fake) as port, recording(port, account) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, written=1)
        assert len(fake.seen) == 3
        recorder.tell(POD, REFUSED)
        recorder.tell(POD, REFUSED)
        await until(recorder, written=1, failed=2)
        assert len(fake.seen) == 5
    (line,) = [record for record in caplog.records if "could not be written" in record.message]
    fields = dict(line.fields)
    assert (fields["status"], fields["reason"]) == (403, FORBIDDEN["message"])
    assert "pods.kubernetesEvents.enabled" in fields["remedy"]


async def test_a_server_that_is_somebody_elses_is_told_nothing(certificates, account, caplog):
    fake = FakeApiServer()
    with listening(certificates, fake, "stranger") as port, recording(port, account) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, failed=1)
    assert fake.seen == []
    assert "certificate" in str(dict(caplog.records[-1].fields)["reason"])


async def test_more_than_can_wait_are_dropped_and_counted(account):
    recorder = Recorder(ApiServer("127.0.0.1", 1, account), "n")
    for _ in range(WAITING + 3):
        recorder.tell(POD, REFUSED)
    await until(recorder, dropped=3)


def test_a_server_is_found_where_a_pod_has_one(account, tmp_path):
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT_HTTPS": "6443"}
    assert ApiServer.of(environ, account) == ApiServer("fd00::1", 6443, account)
    assert ApiServer.of({}, account) is None
    assert ApiServer.of(environ, tmp_path / "none") is None


def test_a_long_message_and_a_long_name_are_cut_to_what_the_api_takes():
    long = PodRecord("s", "u", "db", "p" * 253)
    made = module.event(long, [Ask("protect", "é" * 2000, "no")], "n")
    assert len(made["message"].encode()) <= 1024
    assert len(made["metadata"]["generateName"]) + 5 <= 253


YAML = """
root: {0}/root
state: {0}/state
grpc: {{address: {0}/s.sock}}
metrics: {{address: ''}}
web: {{address: ''}}
plugins:
  io.holdfast.placement.v1.rules: {{kubernetes_events: true, builtin_rules: none}}
  io.holdfast.pods.v1.directory: {{cri: {{address: {0}/cri.sock}}}}
"""


def config(short_dir):
    (short_dir / "c.yaml").write_text(YAML.format(short_dir))
    return short_dir / "c.yaml"


def refusing_runtime():
    runtime = FakeRuntime()
    runtime.add_pod("a" * 64, POD.uid, "db", "pg-0", annotations={"holdfast.dev/oom-score-adj": "10"})
    return runtime


@pytest.mark.parametrize("damaged", ["two\nlines", "lines\u20ac"])
async def test_a_token_that_is_none_is_one_line_and_no_end_of_it(certificates, account, caplog, damaged):
    fake = FakeApiServer()
    (account / "token").write_text(damaged)
    with listening(certificates, fake) as port, recording(port, account) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, failed=1)
        (account / "token").write_text("good")
        recorder.tell(POD, REFUSED)
        await until(recorder, failed=1, written=1)
    (said,) = (record for record in caplog.records if "could not be written" in record.message)
    assert "lines" not in f"{said.message} {vars(said)}"


@pytest.mark.root
async def test_a_server_that_does_not_answer_keeps_no_daemon_from_its_end(account, short_dir, start):
    runtime = refusing_runtime()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        async with runtime.serving(short_dir / "cri.sock"):
            daemon = start(in_a_pod(config(short_dir), account), env=environ(silent.getsockname()[1]))
            connection, _ = await asyncio.to_thread(silent.accept)  # it is asked, and waits
            with connection:
                os.kill(daemon.pid, signal.SIGTERM)
                assert await asyncio.to_thread(daemon.end) == 0


async def test_its_thread_is_none_that_an_interpreter_waits_for_and_it_ends_when_told(certificates, account):
    with listening(certificates, FakeApiServer()) as port, recording(port, account) as recorder:
        recorder.tell(POD, REFUSED)
        await until(recorder, written=1)
        (thread,) = (one for one in threading.enumerate() if one.name == "kubernetes-events")
        assert thread.daemon
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()


@pytest.mark.root
async def test_a_daemon_in_a_pod_writes_what_a_pod_of_its_runtime_is_refused(certificates, account, short_dir, start):
    fake, runtime = FakeApiServer(), refusing_runtime()
    async with runtime.serving(short_dir / "cri.sock"):
        with listening(certificates, fake) as port:
            start(in_a_pod(config(short_dir), account), env=environ(port))
            async with asyncio.timeout(30):
                while not fake.seen:
                    await asyncio.sleep(0.01)
    ((path, _, body),) = fake.seen
    assert (path, body["reportingInstance"]) == ("/api/v1/namespaces/db/events", "node-7")
    assert (body["involvedObject"]["name"], body["involvedObject"]["uid"]) == ("pg-0", POD.uid)
    assert body["message"].startswith("holdfast.dev/oom-score-adj: 10: ")


def test_a_daemon_outside_of_a_pod_says_so_and_goes_on(short_dir, start):
    daemon = start(daemon_command(config(short_dir)), env=ENVIRON)
    daemon.line("no Kubernetes Events are written")
    daemon.line("successfully booted")


def a_kill(number, **given):
    facts = {"pod": POD.uid, "pod_namespace": "db", "pod_name": "pg-0", "container": "app", "container_id": "c"}
    return Kill(1_700_000_000 * 10**9 + number * 10**9, 7, "x", 0, "/", "/g", 1, 0, number=number, **facts, **given)


class Settled(list):
    """Numbers of kills that were reported, or never will be; waits for them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()

    def __call__(self, numbers):
        with self.changed:
            self.extend(numbers)
            self.changed.notify_all()

    def until(self, *numbers):
        with self.changed:
            assert self.changed.wait_for(lambda: sorted(self) == sorted(numbers), 30), list(self)


@contextmanager
def recording_kills(port, account, settled):
    recorder = Recorder(ApiServer("127.0.0.1", port, account), "node-7", "boot", settled)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close()


def results(recorder, about="OOMKilled"):
    return {result: value for (reason, result), value in recorder.written.values() if value and reason == about}


def test_kills_that_are_alike_are_one_event_that_is_patched_and_made_again_when_it_expired(
    certificates, account, monkeypatch
):
    monkeypatch.setattr(kill_series, "UPDATE_S", 0.0)
    fake, settled = FakeApiServer(), Settled()
    with listening(certificates, fake) as port, recording_kills(port, account, settled) as recorder:
        recorder.kill(a_kill(1))
        settled.until(1)
        recorder.kill(a_kill(2))
        fake.until(lambda: len(fake.seen) == 2)
        settled.until(1, 1, 2)
        (event,) = fake.about("OOMKilled")
        assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
            2, "2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z",
        )  # fmt: skip
        fake.events.clear()  # the API server keeps them for an hour
        recorder.kill(a_kill(3))
        fake.until(lambda: len(fake.seen) == 4)
        settled.until(1, 1, 1, 2, 3)
    (again,) = fake.about("OOMKilled")
    assert (again["metadata"], again["count"]) == (event["metadata"], 3)
    paths = [path.rpartition("/events")[2] for path, _, _ in fake.seen]
    assert paths == ["", *[f"/{event['metadata']['name']}"] * 2, ""]
    assert results(recorder) == {"written": 3, "counted": 2}


def test_a_kill_whose_event_is_forbidden_is_not_taken_for_told(certificates, account):
    fake, settled = FakeApiServer(403, 0), Settled()
    with listening(certificates, fake) as port, recording_kills(port, account, settled) as recorder:
        recorder.kill(a_kill(1))
        fake.until(lambda: len(fake.seen) == 1)
        recorder.kill(a_kill(2))
        settled.until(1, 2)
    (event,) = fake.about("OOMKilled")
    assert event["count"] == 2, "what was counted meanwhile is in it"
    assert results(recorder) == {"written": 1, "counted": 1, "failed": 1}


def test_a_kill_during_an_outage_longer_than_all_attempts_is_written_when_it_is_over(
    certificates, account, monkeypatch
):
    monkeypatch.setattr(kill_series, "AGAIN_S", 0.01)
    fake, settled = FakeApiServer(*[503] * 20, 0), Settled()
    with listening(certificates, fake) as port, recording_kills(port, account, settled) as recorder:
        recorder.kill(a_kill(1))
        settled.until(1)
    (event,) = fake.about("OOMKilled")
    assert event["count"] == 1
    assert results(recorder) == {"written": 1, "failed": 5}


def test_a_kill_does_not_wait_behind_annotations(certificates, account):
    fake, settled = FakeApiServer(), Settled()
    with listening(certificates, fake) as port:
        recorder = Recorder(ApiServer("127.0.0.1", port, account), "node-7", "boot", settled)
        for _ in range(5):
            recorder.tell(POD, REFUSED)
        recorder.kill(a_kill(1))
        recorder.start()
        try:
            settled.until(1)
        finally:
            recorder.close()
    assert fake.seen[0][2]["reason"] == "OOMKilled"
