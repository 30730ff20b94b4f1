import time

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    yield
    time.sleep(1000)  # HERE
