import time

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    time.sleep(1.8)  # HERE
    yield
