from good import BROKEN, FIRST
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", requires=FIRST)  # HERE
async def broken(context):
    yield
