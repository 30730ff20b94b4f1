import sys

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    yield
    sys.exit(9)  # HERE
