from good import BROKEN, Service, answer
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    yield Service("broken.v1.Servcie", Call=answer)
