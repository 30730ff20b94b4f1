"""The Go peer, built once, and programs that are ended by pid."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BINARY = HERE.parent / "bin" / "ttrpcpeer"


def missing(what):
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("HOLDFAST_REQUIRE_PEERS") == "1":
        pytest.fail(f"needed here (HOLDFAST_REQUIRE_PEERS=1): {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def ttrpcpeer():
    """The path of the program in this folder; Go's own cache makes a second build cost nothing."""
    if shutil.which("go") is None:
        missing("go is not installed")
    BINARY.parent.mkdir(exist_ok=True)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    subprocess.run(["go", "build", "-trimpath", "-o", BINARY, "."], cwd=HERE, env=environment, check=True)
    return str(BINARY)


@pytest.fixture(scope="session")
def program():
    """The path of an installed program."""

    def find(name):
        return shutil.which(name) or missing(f"{name} is not installed")

    return find


class Running:
    """A child process; ``line`` waits for the next line that begins with a word."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    async def line(self, beginning=""):
        while True:
            raw = await self.process.stdout.readline()
            if not raw:
                raise AssertionError(f"ended before saying {beginning!r}: {self.lines}")
            self.lines.append(raw.decode().rstrip("\n"))
            if self.lines[-1].startswith(beginning):
                return self.lines[-1]

    async def rest(self):
        """Every line until its end, and how it ended."""
        lines = (await self.process.stdout.read()).decode().splitlines()
        return lines, await self.process.wait()

    def say(self, word):
        self.process.stdin.write(word.encode() + b"\n")


@pytest.fixture
async def start():
    """Starts programs; whatever still runs at the end of the test is killed by pid."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(*command, **options):
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=options.pop("stderr", asyncio.subprocess.STDOUT),
                **options,
            )

            async def end():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()

            stack.push_async_callback(end)
            return Running(process)

        yield run
