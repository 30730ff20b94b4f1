from good import FIRST
from holdfast.plugin import plugin


@plugin(FIRST, "plugin")
async def broken(context):
    yield
