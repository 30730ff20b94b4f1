from good import BROKEN, Service
from holdfast.plugin import plugin


def job():
    return 5


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
