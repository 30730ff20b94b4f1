"""The tests of the layer again, on the loop the daemon runs on."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import uvloop

from tests.unit.rpc import test_layer

CASES = [
    case
    for name, case in vars(test_layer).items()
    if name.startswith("test_")
    and inspect.iscoroutinefunction(case)
    and list(inspect.signature(case).parameters) == ["short_dir"]
]


@pytest.mark.parametrize("case", CASES, ids=[case.__name__.removeprefix("test_") for case in CASES])
def test_on_uvloop(case, short_dir):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(case(short_dir))


def test_there_are_cases():
    assert len(CASES) > 15
