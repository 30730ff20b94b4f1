import sys

import msgspec
from good import BROKEN
from holdfast.plugin import plugin


class Config(msgspec.Struct):
    number: int = 1


def check(config):
    sys.exit("no remark")


@plugin(BROKEN, "plugin", config=Config, remarks=check)
async def broken(context):
    yield
