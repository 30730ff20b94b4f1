from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    context.exports["number"] = 5
    context.capabilities.append(None)
    yield
