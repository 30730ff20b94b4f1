from holdfast.plugin import plugin


@plugin("io.broken.v1", "plugin")  # HERE
async def broken(context):
    yield
