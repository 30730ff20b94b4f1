import time

from good import BROKEN, Service, answer
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    go_on = context.root_dir / "go-on"

    async def blocks(request, context):
        while not go_on.exists():
            time.sleep(0.01)
        return await answer(request, context)

    yield Service("broken.v1.Service", Blocks=blocks)
