"""Daemons for the tests with real programs, and certificates made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import path_of
from tests.peers import daemon
from tests.peers.case import an_exit, publish
from tests.peers.daemon import Daemon, write_config
from tests.running import Running

Start = Callable[..., Daemon]


@pytest.fixture
def ours(short_dir: Path) -> Iterator[Start]:
    """Starts holdfast, ready, in a folder of its own; ``tables`` and the like as in a `Case`."""
    yield from _starter(short_dir, "h", daemon.holdfast)


@pytest.fixture
def theirs(short_dir: Path) -> Iterator[Start]:
    """Starts real containerd 1.6, ready, as `ours` starts holdfast."""
    yield from _starter(short_dir, "c", daemon.containerd)


@pytest.fixture
def newest(short_dir: Path) -> Iterator[Start]:
    """Starts real containerd 2.3, ready, as `ours` starts holdfast."""
    yield from _starter(short_dir, "n", daemon.containerd23)


def _starter(directory: Path, letter: str, starter: Start) -> Iterator[Start]:
    with ExitStack() as stack:
        started: list[Daemon] = []

        def start(
            top: str = "", tables: str = "", grpc: str = "", arguments: Sequence[str] = (), **options: object
        ) -> Daemon:
            own = directory / f"{letter}{len(started)}"
            own.mkdir()
            config = write_config(own, top, tables, grpc)
            words = [word.replace("@DIR@", str(own)) for word in arguments]
            started.append(stack.enter_context(starter(own, config, *words, **options)))
            return started[-1].ready()

        yield start


@pytest.fixture
def subscribed(start: Callable[..., Running]) -> Callable[..., Running]:
    """Starts ``ctr events FILTER…`` and gives it once it is subscribed, which it does not say: a probe event came."""

    def subscribe(to: Daemon, *filters: str) -> Running:
        words = [*filters, 'topic=="/probe"'] if filters else []
        running = start([path_of("ctr"), "--address", to.address, "--namespace", "hf", "events", *words])
        while not any("/probe" in line for line in list(running.out)):
            assert publish(to, "/probe", an_exit("probe")).returncode == 0
            assert not running.ended(0.05), running.said
        return running

    return subscribe


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a small authority: ``server`` for 127.0.0.1, ``client``, and ``stranger`` by an unknown authority."""

    directory: Path

    def cert(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_in(tmp_path_factory.mktemp("tls"))


def certificates_in(folder: Path, *of_the_authority: str) -> Certificates:
    """An authority with these extensions, a server and a client by it, and an unknown client."""
    made = Certificates(folder)
    _openssl(made, "ca", "/CN=holdfast test authority", "basicConstraints=critical,CA:TRUE", *of_the_authority)
    for name in ("server", "client"):
        _openssl(made, name, f"/O=holdfast/CN={name}", by="ca")
    _openssl(made, "stranger", "/CN=stranger")
    return made


def _openssl(made: Certificates, name: str, subject: str, *extensions: str, by: str = "") -> None:
    command: list[str | Path] = [path_of("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", subject]
    for extension in extensions or ("subjectAltName=IP:127.0.0.1",):
        command += ["-addext", extension]
    command += ["-keyout", made.key(name), "-out", made.cert(name)]
    if by:
        command += ["-CA", made.cert(by), "-CAkey", made.key(by), "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
