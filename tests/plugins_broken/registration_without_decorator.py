from good import BROKEN
from holdfast.plugin import Registration


async def init(context):
    yield


broken = Registration(BROKEN, "plugin", init, requires=("io.good.first.v1",))
