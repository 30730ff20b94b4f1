from good import BROKEN
from holdfast.plugin import Kind, plugin

NOBODY = Kind("io.nobody.v1")


@plugin(BROKEN, "plugin", requires=[NOBODY], services=["broken.v1.Service"])
async def broken(context):
    context.single(NOBODY)  # HERE
    yield
