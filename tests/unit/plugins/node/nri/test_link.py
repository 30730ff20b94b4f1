from __future__ import annotations

import asyncio
import os

import pytest
from holdfast.errors import Untrusted
from holdfast.plugins.node.nri import link

from tests.running import async_until


async def test_a_socket_that_another_user_could_exchange_is_not_connected_to(short_dir):
    connections = []
    (short_dir / "d").mkdir(mode=0o755)
    path = f"{short_dir}/d/nri.sock"
    connect = link._checked(f"unix://{path}")
    async with await asyncio.start_unix_server(lambda _, writer: connections.append(writer), path):
        os.chmod(short_dir / "d", 0o777)
        with pytest.raises(Untrusted, match="every user may write to "):
            await connect(asyncio.Protocol)
        os.chmod(short_dir / "d", 0o755)
        await connect(asyncio.Protocol)
        await async_until(lambda: connections)
    assert len(connections) == 1
    connections[0].close()
