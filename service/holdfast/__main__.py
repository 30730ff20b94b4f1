"""The ``holdfast`` command, and ``python -m holdfast``."""

import gc
import os
import signal
import sys

gc.disable()  # what an import makes stays: looking through it is a twelfth of a start. `call` turns it on again
if sys.argv[1:2] == ["run"]:  # before the imports, most of a start: a daemon that has done nothing yet ends at once
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from holdfast.cli.main import main  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    main()
