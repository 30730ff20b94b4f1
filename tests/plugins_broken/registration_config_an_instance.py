import msgspec
from good import BROKEN
from holdfast.plugin import plugin


class Config(msgspec.Struct):
    number: int = 1


@plugin(BROKEN, "plugin", config=Config())  # HERE
async def broken(context):
    yield
