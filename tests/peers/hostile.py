"""A third party's plugins, each bad in its own way; installed for one daemon by a folder on its PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import asyncio
import os
import time

import grpc
from google.protobuf.empty_pb2 import Empty
from holdfast.errors import NotFound
from holdfast.plugin import Kind, SkipPlugin, plugin
from holdfast.plugins.kinds import EVENTS

HOSTILE = Kind("io.hostile.x.v1")


@plugin(HOSTILE, "raises")
async def raises(context):
    raise ValueError("the disk is\\non fire")
    yield


@plugin(HOSTILE, "opens-first")
async def opens_first(context):
    print("opened first", flush=True)
    yield
    print("closed first", flush=True)


@plugin(HOSTILE, "opens-second")
async def opens_second(context):
    print("opened second", flush=True)
    yield
    print("closed second", flush=True)


@plugin(HOSTILE, "hangs")
async def hangs(context):
    await asyncio.Event().wait()
    yield


@plugin(HOSTILE, "blocks")
async def blocks(context):
    print("blocking", flush=True)
    time.sleep(1000)
    yield


@plugin(HOSTILE, "exits")
async def exits(context):
    raise SystemExit(7)
    yield


@plugin(HOSTILE, "raises-on-close")
async def raises_on_close(context):
    yield
    raise ValueError("no way out")


@plugin(HOSTILE, "hangs-on-close")
async def hangs_on_close(context):
    yield
    await asyncio.Event().wait()


@plugin(HOSTILE, "never-yields")
async def never_yields(context):
    if False:
        yield


@plugin(HOSTILE, "yields-twice")
async def yields_twice(context):
    yield 1
    yield 2


@plugin(HOSTILE, "broken-job", services=["hostile.v1.Job"])
async def broken_job(context):
    async def job():
        raise KeyError("lost")

    context.background("job", job)
    yield


@plugin(HOSTILE, "floods", requires=[EVENTS])
async def floods(context):
    async def flood():
        exchange = context.single(EVENTS)
        from holdfast import namespaces
        while True:
            with namespaces.inside("hf"):
                for _ in range(100):
                    exchange.publish("/flood/water", Empty())
            await asyncio.sleep(0)

    context.background("flood", flood)
    yield


class Handlers:
    async def Raise(self, request, context):
        raise ValueError("secret of the implementation")

    async def Missing(self, request, context):
        raise NotFound("lease l1")

    async def NoAnswer(self, request, context):
        return None

    async def Wait(self, request, context):
        print("in flight", flush=True)
        while not os.path.exists("answer"):
            await asyncio.sleep(0.01)
        return Empty()

    def register_grpc(self, registrar):
        unary = grpc.unary_unary_rpc_method_handler
        parse, show = Empty.FromString, Empty.SerializeToString
        methods = {name: unary(getattr(self, name), parse, show) for name in ("Raise", "Missing", "NoAnswer", "Wait")}
        registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hostile.v1.Handlers", methods),))


@plugin(HOSTILE, "handlers", services=["hostile.v1.Handlers"])
async def handlers(context):
    yield Handlers()


not_a_plugin = 5
"""


def install(directory: Path, *names: str) -> dict[str, str]:
    """Put the named plugins below ``directory``; gives the environment in which a daemon finds them."""
    site = directory / "site"
    metadata = site / "hostile-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    points = "".join(f"{name} = hostile_plugins:{name}\n" for name in names)
    (metadata / "entry_points.txt").write_text(f"[holdfast.plugins]\n{points}")
    (site / "hostile_plugins.py").write_text(SOURCE)
    return {"PYTHONPATH": f"{Path(__file__).parents[2] / 'service'}:{site}"}
