"""mypy --strict knows the types that a plugin's author uses, and sees their mistakes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[2] / "service"
PLUGIN = """
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
from holdfast.plugin import InitContext, Kind, Registrar, Remark, plugin
from holdfast.testing import running
from holdfast.ttrpc import Registrar as TtrpcRegistrar


class Config(msgspec.Struct, frozen=True):
    number: int = 1


class Other(msgspec.Struct):
    name: str = ""


class Service:
    def __init__(self, number: int) -> None:
        self.number = number

    def register_grpc(self, registrar: Registrar) -> None:
        registrar.add_generic_rpc_handlers(())

    register_tcp = register_grpc

    def register_ttrpc(self, registrar: TtrpcRegistrar) -> None:
        registrar.register("a.v1.Service", {})


SERVICE: Kind[Service] = Kind("io.test.service.v1")


def remarks(config: Config) -> Iterator[Remark]:
    if config.number > 9:
        yield Remark(("number",), "it is large")


@plugin(SERVICE, "first", config=Config, remarks=remarks)
async def first(context: InitContext[Config]) -> AsyncIterator[Service]:
    reveal_type(context.config)  # Config
    service = Service(context.config.number)
    word: str = context.config.number  # wrong

    def reload(config: Config) -> None:
        service.number = config.number

    async def job() -> None:
        service.number += 1

    context.on_reload(reload)
    context.background("job", job)
    yield service


@plugin(Kind[int]("io.test.number.v1"), "second", requires=[SERVICE])
async def second(context: InitContext) -> AsyncIterator[int]:
    reveal_type(context.single(SERVICE))  # Service
    yield context.single(SERVICE).number


@plugin(SERVICE, "third", config=Other)  # wrong
async def third(context: InitContext[Config]) -> AsyncIterator[Service]:
    yield Service(context.config.number)


@plugin(SERVICE, "fourth")  # wrong
async def fourth(context: InitContext) -> AsyncIterator[int]:
    yield 5


async def test_it() -> None:
    async with running([first, second], {"debug": {"level": "debug"}}) as daemon:
        reveal_type(daemon.single(SERVICE))  # Service
"""


@pytest.mark.timeout(600)
def test_mypy_knows_the_types_of_a_plugin_and_sees_its_mistakes(tmp_path):
    file = tmp_path / "example.py"
    file.write_text(PLUGIN)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}/cache", file.name]
    done = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(SERVICE), "PATH": ""}, capture_output=True, text=True, check=False
    )
    lines = PLUGIN.splitlines()
    told = re.findall(r"^example\.py:(\d+): (\w+): (.*)$", done.stdout, re.MULTILINE)
    assert told, done.stdout + done.stderr
    marked = [number for number, line in enumerate(lines, 1) if "# wrong" in line]
    assert sorted({int(number) for number, level, _ in told if level == "error"}) == marked, done.stdout
    revealed = {
        (int(number), words.split('"')[1].removeprefix("example.")) for number, _, words in told if "Revealed" in words
    }
    wanted = {(n, line.rpartition("# ")[2]) for n, line in enumerate(lines, 1) if "reveal_type" in line}
    assert revealed == wanted
