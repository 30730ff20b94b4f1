from holdfast.plugin import plugin
from holdfast.plugins.kinds import CONTENT, METADATA


@plugin(CONTENT, "broken", requires=[METADATA], services=["broken.v1.Service"])
async def broken(context):
    yield
