from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")  # HERE
async def broken(context):
    return None
