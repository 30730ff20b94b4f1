from good import BROKEN
from holdfast.plugin import plugin


class Odd(BaseException):
    pass


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    raise Odd("in init")  # HERE
    yield
