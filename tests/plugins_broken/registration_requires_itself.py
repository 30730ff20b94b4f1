from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", requires=[BROKEN])  # HERE
async def broken(context):
    yield
