from good import BROKEN, Service
from google.protobuf.empty_pb2 import Empty
from holdfast.plugin import plugin


def call(request, context):
    return Empty()


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    yield Service("broken.v1.Service", Call=call)
