from good import BROKEN
from holdfast.plugin import plugin


def deep(number):
    return deep(number + 1)  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    deep(0)
    yield
