"""A runtime's side of NRI in this process, over our own mux, and a feed and wishes that keep or do what a test says."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import asynccontextmanager

from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.api.nri.v1alpha1.nri_ttrpc import PluginStub, RuntimeServicer, add_RuntimeServicer_to_server
from holdfast.errors import InvalidArgument
from holdfast.plugins.node.nri.link import Link
from holdfast.plugins.node.nri.metrics import NriMetrics
from holdfast.plugins.node.nri.service import HandlerContext
from holdfast.plugins.node.nri.session import PLUGIN_STREAM, RUNTIME_STREAM, PluginIdentity
from holdfast.pods.created import CreatedStore
from holdfast.ttrpc import Client, Server, unix
from holdfast.ttrpc.mux_connection import MuxConnection

from tests.running import PATIENCE_S
from tests.unit.ttrpc.harness import bound, socket_path

POD = pb.PodSandbox(id="s1", name="pg-0", uid="u1", namespace="db", labels={"app": "pg"})


def a_container(name="app", adj=985, **more):
    linux = pb.LinuxContainer(oom_score_adj=pb.OptionalInt(value=adj), cgroups_path="/kubepods/podu1/c1")
    return pb.Container(id="c1", pod_sandbox_id="s1", name=name, linux=linux, **more)


class Wishing:
    """`nri.adjustments.RuleValuesSource`."""

    def __init__(self):
        self.values, self.error, self.never = None, None, False

    async def at_creation(self, pod, container):
        if self.never:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.values


class Feeding:
    """`nri.feed.DirectoryFeed` as a list of calls; it may be broken."""

    def __init__(self):
        self.calls, self.broken = [], False

    def __getattr__(self, name):
        def call(*given):
            if self.broken:
                raise RuntimeError("a bug in the feed")
            self.calls.append((name, *(list(item) if name == "everything" else item for item in given)))

        return call


class Taking:
    """`nri.service.AdoptionTarget` as a list of what was taken; ``error`` is what the journal says to it."""

    def __init__(self):
        self.taken, self.error = [], None

    def adopt(self, *given):
        done = Future()
        if self.error is None:
            self.taken.append(given)
            done.set_result(None)
        else:
            done.set_exception(self.error)
        return done

    adopt_files = adopt


class Runtime(RuntimeServicer):
    """Accepts plugins on a socket; ``refusal`` is what the next registration is answered with."""

    def __init__(self, listener):
        self._listener = listener
        self.refusal = None
        self.registered = asyncio.Queue()

    async def RegisterPlugin(self, request, call):
        if self.refusal:
            raise InvalidArgument(self.refusal)
        self.registered.put_nowait(request)
        return pb.Empty()

    @asynccontextmanager
    async def plugin(self):
        """The next plugin's stub, and the mux to it."""
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(self._listener)
        mux, server = MuxConnection(), Server()
        add_RuntimeServicer_to_server(self, server)
        async with asyncio.TaskGroup() as group:
            await loop.create_unix_connection(lambda: mux, sock=sock)
            mux.attach(RUNTIME_STREAM, server.session(group))
            try:
                yield PluginStub(Client(mux.connector(PLUGIN_STREAM))), mux
            finally:
                mux.close()
                await mux.ended.wait()


@asynccontextmanager
async def linked(tmp_path, budget_s=PATIENCE_S):
    """A runtime and our link to it: ``means`` says what the link has to work with.

    The budget is the time of a handler, which syncs a file: on a disk that others use it takes a second, too.
    """
    with socket_path() as path, bound(path) as listener:
        listener.setblocking(False)
        store = CreatedStore(tmp_path / "created.db")
        events, states, adoption_target = [], [], Taking()
        handler_context = HandlerContext(
            Wishing(),
            Feeding(),
            store,
            NriMetrics(),
            events.append,
            adoption_target=adoption_target,
        )
        link = Link(unix(path), PluginIdentity("holdfast", "10"), handler_context, budget_s, states.append)
        link.events, link.states, link.adoption_target, link.adopted = (
            events,
            states,
            adoption_target,
            adoption_target.taken,
        )
        task = asyncio.ensure_future(link.keep())
        try:
            yield Runtime(listener), link
        finally:
            task.cancel()
            await asyncio.wait([task])
            store.close()


@asynccontextmanager
async def serving(tmp_path, **options):
    """The plugin's stub, after it registered, and the link's means."""
    async with linked(tmp_path, **options) as (runtime, link), runtime.plugin() as (plugin, _):
        await runtime.registered.get()
        yield plugin, link
