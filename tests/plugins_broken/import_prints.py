from good import BROKEN
from holdfast.plugin import plugin

print("hello from a plugin")


@plugin(BROKEN, "plugin")
async def broken(context):
    print("hello from its init")
    yield
