from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken():
    yield
