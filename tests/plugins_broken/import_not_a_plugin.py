async def broken(context):
    yield
