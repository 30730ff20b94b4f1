"""The pytest fixture `run_daemon`: name this module in ``pytest_plugins``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from holdfast.plugin import Registration
from holdfast.testing.daemon import RunDaemon, RunningDaemon, running


@pytest.fixture
def run_daemon() -> Iterator[RunDaemon]:
    """Start daemons, each with its loop in a thread; they stop when the test ends.

    ``daemon = run_daemon([load], {"plugins": {…}})``, then ``grpc.insecure_channel(daemon.target)``.
    """
    with ExitStack() as stack:

        def start(
            plugins: Iterable[Registration] = (), config: Mapping[str, Any] | None = None, **options: Any
        ) -> RunningDaemon:
            return stack.enter_context(_in_thread(plugins, config, options))

        yield start


@contextmanager
def _in_thread(
    plugins: Iterable[Registration], config: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> Iterator[RunningDaemon]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="holdfast", daemon=True)
        thread.start()
        try:
            life = running(plugins, config, **options)
            daemon = asyncio.run_coroutine_threadsafe(life.__aenter__(), loop).result()
            try:
                yield daemon
            finally:
                asyncio.run_coroutine_threadsafe(life.__aexit__(None, None, None), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
