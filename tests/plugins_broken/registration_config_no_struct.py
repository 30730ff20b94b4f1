from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", config=dict)  # HERE
async def broken(context):
    yield
