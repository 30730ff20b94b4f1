import msgspec
from good import BROKEN
from holdfast.plugin import plugin


class Config(msgspec.Struct):
    number: int | float | complex | list[int] | set[int] = 1


@plugin(BROKEN, "plugin", config=Config, services=["broken.v1.Service"])
async def broken(context):
    yield
