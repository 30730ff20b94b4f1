import msgspec
from good import BROKEN
from holdfast.plugin import plugin


def default():
    raise OSError("no default here")  # HERE


class Config(msgspec.Struct):
    number: int = msgspec.field(default_factory=default)


@plugin(BROKEN, "plugin", config=Config, services=["broken.v1.Service"])
async def broken(context):
    yield
