import msgspec
from good import BROKEN
from holdfast.plugin import plugin


class Config(msgspec.Struct):
    number: int


@plugin(BROKEN, "plugin", config=Config, services=["broken.v1.Service"])
async def broken(context):
    yield
