from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", requires=["io.good.first.v1"])  # HERE
async def broken(context):
    yield
