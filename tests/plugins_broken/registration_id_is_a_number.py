from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, 5)  # HERE
async def broken(context):
    yield
