"""One configuration for both daemons, and what is seen of each of them with it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import any_pb2

from tests.needs import path_of
from tests.peers.daemon import Daemon, write_config
from tests.running import PATIENCE_S

#: The plugins that are a part of both daemons from the start: their states are compared in every case.
STORE = ("containers", "content", "images", "leases", "namespaces")
SHARED = (
    "io.containerd.content.v1.content",
    "io.containerd.metadata.v1.bolt",
    "io.containerd.event.v1.exchange",
    "io.containerd.gc.v1.scheduler",
    "io.containerd.service.v1.introspection-service",
    *(f"io.containerd.service.v1.{name}-service" for name in STORE),
    "io.containerd.grpc.v1.introspection",
    "io.containerd.grpc.v1.events",
    "io.containerd.grpc.v1.healthcheck",
    *(f"io.containerd.grpc.v1.{name}" for name in STORE),
    "io.containerd.grpc.v1.version",
)
ALL_OK = " ".join(f"{uri}=ok" for uri in SHARED)


@dataclass(frozen=True, slots=True)
class Seen:
    """A user's view of one daemon: whether it served, how it ended, its output, and its plugins' states."""

    boots: bool = True
    status: int = 0  # of the process; after SIGTERM where it served
    line: str = ""  # where it did not serve: its last word on stderr; where it did: what ``says`` of the case found
    plugins: str = ALL_OK  # ``URI=state`` of the shared ones that it lists; empty where it did not serve
    look: str = ""  # what the case's own look saw


def refused(line: str, status: int = 1) -> Seen:
    """Return the view of a daemon that does not start."""
    return Seen(boots=False, status=status, line=line, plugins="")


@dataclass(frozen=True, slots=True)
class Case:
    """``top``, ``grpc`` and ``tables`` go into the same config.toml for both; ``@DIR@`` is the case's folder.

    ``theirs`` is what containerd 1.6 is known to show: it keeps the case from comparing two misunderstandings.
    """

    name: str
    theirs: Seen
    top: str = ""
    grpc: str = ""
    tables: str = ""
    version: str = "2"
    arguments: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    cwd: str = "@DIR@"
    says: str = ""  # a pattern; what it finds in the log of a daemon that served is compared
    look: Callable[[Daemon], str] | None = None
    needs_root: bool = False


Start = Callable[..., Daemon]


def seen(case: Case, start: Start, directory: Path) -> Seen:
    """Start one daemon with the case's configuration, observe it, stop it."""
    directory.mkdir()
    directory.chmod(0o1777)  # the case may run as another user
    for name, words in case.files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(words.replace("@DIR@", str(directory)))
    config = write_config(directory, case.top, case.tables, case.grpc, case.version)
    arguments = [word.replace("@DIR@", str(directory)) for word in case.arguments]
    with start(
        directory, config, *arguments, prefix=case.prefix, cwd=case.cwd.replace("@DIR@", str(directory))
    ) as daemon:
        if not daemon.booted():
            status = daemon.end()
            return refused(last_word(daemon), status)
        plugins = states(daemon)
        look = case.look(daemon) if case.look else ""
        status = daemon.stop()
        return Seen(True, status, _found(case.says, daemon), plugins, look.replace(str(directory), "@DIR@"))


NAMED = re.compile(r"^(containerd|holdfast): ")


def last_word(daemon: Daemon) -> str:
    """The one line with which it gave up, without the program's name and the case's folder.

    A panic is its first line: what follows is a stack.
    """
    panics = [line for line in daemon.err if line.startswith("panic: ")]
    own = [line for line in daemon.err if NAMED.match(line)]  # containerd's log may still say something after it
    lines = panics[:1] or own[-1:] or daemon.err[-1:] or [""]
    line = NAMED.sub("", lines[0])
    line = re.sub(r"\(modprobe .*\)", "(modprobe …)", line)  # names the kernel
    return line.replace(str(daemon.dir), "@DIR@")


def states(daemon: Daemon) -> str:
    """The states of the shared plugins as ``ctr plugins ls`` prints them, or the words with which it fails."""
    done = ctr(daemon, "plugins", "ls")
    if done.returncode:
        return done.stderr.strip()
    cells = [line.split() for line in done.stdout.splitlines()[1:]]
    listed = {f"{kind}.{name}": state for kind, name, *_, state in cells}
    return " ".join(f"{uri}={listed[uri]}" for uri in SHARED if uri in listed)


def ctr(daemon: Daemon, *words: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run real ``ctr`` against a daemon."""
    command = [*prefix, path_of("ctr"), "--address", daemon.address, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def publish(
    daemon: Daemon, topic: str, payload: bytes = b"", namespace: str = "hf"
) -> subprocess.CompletedProcess[bytes]:
    """Run real ``containerd publish`` against a daemon; ``payload`` is an Any."""
    command = [
        path_of("containerd"),
        "--address",
        daemon.address,
        "publish",
        "--topic",
        topic,
        "--namespace",
        namespace,
    ]
    return subprocess.run(command, input=payload, capture_output=True, timeout=PATIENCE_S, check=False)


def an_exit(container: str) -> bytes:
    """A ``containerd.events.TaskExit`` in an Any, as containerd's own shims publish it."""
    body = b"\x0a" + bytes([len(container)]) + container.encode()
    return any_pb2.Any(type_url="containerd.events.TaskExit", value=body).SerializeToString()


def _found(pattern: str, daemon: Daemon) -> str:
    found = re.search(pattern, "\n".join([*daemon.out, *daemon.err])) if pattern else None
    return re.sub(r"/proc/\d+/", "/proc/PID/", found[0]).replace(str(daemon.dir), "@DIR@") if found else ""
