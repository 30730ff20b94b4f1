from good import BROKEN
from holdfast.plugin import plugin


class Odd(BaseException):
    pass


@plugin(BROKEN, "plugin")
async def broken(context):
    yield
    raise Odd("at its close")  # HERE
