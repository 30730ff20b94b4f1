import signal

from good import BROKEN
from holdfast.plugin import plugin

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)


@plugin(BROKEN, "plugin")
async def broken(context):
    yield
