from good import BROKEN, Service, answer
from holdfast.plugin import plugin


class Broken(Service):
    def register_grpc(self, registrar):
        super().register_grpc(registrar)
        raise ValueError("torn")  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    yield Broken("broken.v1.Service", Call=answer)
