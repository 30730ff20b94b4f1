from good import BROKEN
from holdfast.plugin import Kind, plugin

OTHER = Kind("io.other.v1")


@plugin(OTHER, "plugin", requires=[BROKEN])
async def another(context):
    yield


@plugin(BROKEN, "plugin", requires=[OTHER], services=["broken.v1.Service"])
async def broken(context):
    yield
