from good import BROKEN, Service
from holdfast.plugin import plugin


async def job():
    raise ValueError("torn")  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
