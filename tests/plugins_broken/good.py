"""Two good plugins, and one that requires the broken one without using it."""

import grpc
from google.protobuf.empty_pb2 import Empty
from holdfast.plugin import Kind, plugin

FIRST, SECOND, BROKEN = Kind("io.good.first.v1"), Kind("io.good.second.v1"), Kind("io.broken.v1")


class Service:
    """Serves methods named as its handlers begin, with a capital letter: ``Service("a.B", Call=handler)``."""

    def __init__(self, name, **handlers):
        self.name, self.handlers = name, handlers

    def register_grpc(self, registrar):
        unary, parse, show = grpc.unary_unary_rpc_method_handler, Empty.FromString, Empty.SerializeToString
        methods = {name: unary(handler, parse, show) for name, handler in self.handlers.items()}
        registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.name, methods),))

    def register_ttrpc(self, registrar):
        methods = {name: (handler, Empty, Empty, False, False) for name, handler in self.handlers.items()}
        registrar.register(self.name, methods)


async def answer(request, context):
    return Empty()


@plugin(FIRST, "plugin", services=["good.v1.First"])
async def first(context):
    yield Service("good.v1.First", Call=answer)


@plugin(SECOND, "plugin", requires=[FIRST], services=["good.v1.Second"])
async def second(context):
    context.single(FIRST)
    yield Service("good.v1.Second", Call=answer)


@plugin(Kind("io.good.dependant.v1"), "plugin", requires=[BROKEN], services=["good.v1.Dependant"])
async def dependant(context):
    yield Service("good.v1.Dependant", Call=answer)
