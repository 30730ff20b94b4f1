import sys

from good import BROKEN, Service
from holdfast.plugin import plugin


async def job():
    sys.exit(3)  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
