import sys

from good import BROKEN, Service, answer
from holdfast.plugin import plugin


class Broken(Service):
    def register_ttrpc(self, registrar):
        super().register_ttrpc(registrar)
        sys.exit("no")  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    yield Broken("broken.v1.Service", Call=answer)
