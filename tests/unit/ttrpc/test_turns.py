"""How many turns of the loop a call takes: the cost of a round trip in a number that no other load changes."""

from __future__ import annotations

import asyncio

from tests.unit.ttrpc.harness import Text, echo

CALLS = 100


def test_a_call_is_a_turn_at_either_end():
    """Read, answer, write; read, go on, write. (It was two turns at either end: one more for each task to begin.)"""

    async def calls():
        loop, turns = asyncio.get_running_loop(), 0
        once = loop._run_once

        def counted():
            nonlocal turns
            turns += 1
            once()

        async with echo() as (_, stubs, _, _):
            await stubs.Say(Text(value="a"), timeout=30)
            loop._run_once = counted
            for _ in range(CALLS):
                await stubs.Say(Text(value="a"), timeout=30)
            return turns

    assert asyncio.Runner(loop_factory=asyncio.SelectorEventLoop).run(calls()) <= 2 * CALLS + 5
