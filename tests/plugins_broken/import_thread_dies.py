import threading

from good import BROKEN
from holdfast.plugin import plugin


def die():
    raise ValueError("torn in a thread")  # HERE


@plugin(BROKEN, "plugin")
async def broken(context):
    threading.Thread(target=die, name="its-thread").start()
    yield
