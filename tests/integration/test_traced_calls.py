"""A daemon that traces: what its own calls carry, at a container runtime that looks."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.fakes.cri import FakeRuntime
from tests.peers.daemon import ENVIRON
from tests.running import PATIENCE_S


class LookingRuntime(FakeRuntime):
    def __init__(self) -> None:
        super().__init__()
        self.headers: asyncio.Queue[str] = asyncio.Queue()

    async def Version(self, request, context):
        await self.headers.put(dict(context.invocation_metadata()).get("traceparent", ""))
        return await super().Version(request, context)


async def test_a_call_to_the_container_runtime_carries_the_trace_of_its_span(start, short_dir):
    runtime, config = LookingRuntime(), short_dir / "config.yaml"
    own = {"root": f"{short_dir}/root", "state": f"{short_dir}/state", "grpc": {"address": f"{short_dir}/s.sock"}}
    pods = {"io.holdfast.pods.v1.directory": {"cri": {"enabled": True, "address": f"{short_dir}/cri.sock"}}}
    config.write_text(
        json.dumps({**own, "metrics": {"address": ""}, "web": {"address": ""}, "plugins": pods})
    )  # JSON is YAML
    async with runtime.serving(short_dir / "cri.sock"), asyncio.timeout(PATIENCE_S):
        environ = {**ENVIRON, "OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "10"}
        daemon = start([sys.executable, "-m", "holdfast", "run", "-c", config], env=environ)
        _, _, span_id, flags = (await runtime.headers.get()).split("-")
        span = await asyncio.to_thread(daemon.line, f'"span_id": "0x{span_id}"')
    assert span
    assert int(flags, 16) & 1
