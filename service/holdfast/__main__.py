"""The ``holdfast`` command, and ``python -m holdfast``."""

import os
import signal
import sys

if sys.argv[1:2] == ["run"]:  # before the imports, most of a start: a daemon that has done nothing yet ends at once
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from holdfast.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
