from good import BROKEN
from holdfast.metrics import Counter
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.metrics.add(Counter("broken_total", "One."))
    context.metrics.add(Counter("broken_total", "Another one."))  # HERE
    yield
