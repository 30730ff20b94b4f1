"""One connection as a runtime's plugin, from the registration to its end."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.api.nri.v1alpha1.nri_ttrpc import PluginServicer, RuntimeStub, add_PluginServicer_to_server
from holdfast.ttrpc import Client, Interceptor, Server
from holdfast.ttrpc.dial import Connector
from holdfast.ttrpc.mux_connection import dial

#: The mux's streams: the runtime calls us on the first, we call it on the second (containerd/nri, pkg/net/multiplex).
PLUGIN_STREAM, RUNTIME_STREAM = 1, 2
REGISTRATION_S = 5.0  # the runtime's own default


class PluginIdentity(Struct, frozen=True):
    """The name, and the place among a runtime's plugins: two digits, lower ones are called first.

    ``where`` is the runtime's socket, for log messages.
    """

    name: str
    index: str
    where: str = "the runtime's socket"


async def be_a_plugin(connect: Connector, identity: PluginIdentity, service: PluginServicer, guard: Interceptor) -> str:
    """Register, and serve until the runtime is gone; return the reason, empty for a plain end.

    Raises (in a group):
        OSError: no process listens there, or we may not connect.
        HoldfastError: the runtime refused us.
    """
    server = Server(interceptors=[guard])
    add_PluginServicer_to_server(service, server)
    async with asyncio.TaskGroup() as group:
        mux = await dial(connect)
        client = Client(mux.connector(RUNTIME_STREAM))
        try:
            mux.attach(PLUGIN_STREAM, server.session(group))  # before we register: the runtime calls at once
            registration = pb.RegisterPluginRequest(plugin_name=identity.name, plugin_idx=identity.index)
            await RuntimeStub(client).RegisterPlugin(registration, timeout=REGISTRATION_S)
            await mux.ended.wait()
        finally:
            server.close()
            await client.close()
            mux.close()
            await mux.ended.wait()
    return mux.why
