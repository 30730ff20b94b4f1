from good import BROKEN, Service
from holdfast.plugin import plugin


async def job():
    return None


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job())  # HERE
    yield Service("broken.v1.Service")
