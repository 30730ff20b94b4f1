import asyncio
import signal

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, print)
    yield
