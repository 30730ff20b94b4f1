"""A real ``containerd-shim-runc-v2`` publishes its task's events to our ttrpc socket, and no other user may."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.needs import path_of, peer
from tests.peers.cases.looks import forward_as
from tests.peers.daemon import AS_NOBODY
from tests.peers.ttrpc_wire import Wire, field, parsed
from tests.running import until

pytestmark = [peer("containerd-shim-runc-v2", "ctr", "containerd"), pytest.mark.root]

TASK = "containerd.task.v2.Task"

#: Stands where runc does: says that the container's first process is PID, and carries out nothing.
RUNC = """\
#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" != --pid-file ] || printf %s {pid} >"$2"
  shift
done
"""


class Shim:
    """A shim with a container whose only process is a sleep of ours."""

    def __init__(self, start, directory: Path, ttrpc_address: str) -> None:
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        self.process = start(["sleep", "infinity"])
        self._runc = directory / "runc"
        self._runc.write_text(RUNC.format(pid=self.process.pid))
        self._runc.chmod(0o755)
        os.mkfifo(self.bundle / "log")
        self.log: list[str] = []
        threading.Thread(target=self._read_log, daemon=True).start()
        command = [path_of("containerd-shim-runc-v2"), "-namespace", "hf", "-id", "web", "-socket", directory / "shim"]
        self.running = start(command, cwd=self.bundle, env={"TTRPC_ADDRESS": ttrpc_address, "GOMAXPROCS": "2"})
        self.wire = until(lambda: self._dialled(directory / "shim"), "the shim serves")

    def _dialled(self, path: Path) -> Wire | None:
        assert not self.running.ended(), self.running.said
        with suppress(FileNotFoundError, ConnectionRefusedError):  # the file is there before anybody listens
            return Wire(path)
        return None

    def _read_log(self) -> None:
        with (self.bundle / "log").open(errors="replace") as log:
            self.log += log

    def create_and_start(self) -> None:
        options = field(6, str(self._runc)) + field(7, str(self.bundle / "runc-root"))
        packed = field(1, "containerd.runc.v1.Options") + field(2, options)
        made = self.wire.call(TASK, "Create", field(1, "web") + field(2, str(self.bundle)) + field(10, packed))
        assert made[:2] == (0, ""), made
        assert parsed(made[2])[1] == self.process.pid
        started = self.wire.call(TASK, "Start", field(1, "web"))
        assert started[:2] == (0, ""), started

    def stop(self) -> None:
        self.wire.socket.close()
        self.running.stop(signal.SIGKILL)


@pytest.fixture
def shim(start, short_dir):
    made = []

    def run(ttrpc_address):
        made.append(Shim(start, short_dir, ttrpc_address))
        return made[-1]

    yield run
    for one in made:
        one.stop()


def test_a_shims_events_arrive_with_its_namespace(ours, subscribed, shim):
    daemon = ours()
    events = subscribed(daemon, 'topic~="^/tasks/"')
    one = shim(daemon.ttrpc_address)
    one.create_and_start()
    created = events.line(" hf /tasks/create ")
    assert '"container_id":"web"' in created
    assert f'"pid":{one.process.pid}' in created
    assert '"container_id":"web"' in events.line(" hf /tasks/start ")


@peer("setpriv")
@pytest.mark.parametrize("starter", ["ours", "theirs"])
def test_a_peer_of_another_user_is_refused_even_where_the_file_lets_it_in(request, starter):
    daemon = request.getfixturevalue(starter)(tables='[ttrpc]\n  address = "@DIR@/t.sock"\n  gid = 65534')
    address = str(daemon.dir / "t.sock")
    assert forward_as((), address) == "(0, '')"
    assert forward_as(AS_NOBODY, address) in ("EOFError", "BrokenPipeError", "ConnectionResetError")
    assert "refusing connection" in daemon.line("refus")
    assert forward_as((), address) == "(0, '')"


@peer("setpriv")
def test_the_sockets_mode_alone_keeps_another_user_out_by_default(ours):
    assert forward_as(AS_NOBODY, ours().ttrpc_address) == "PermissionError"
