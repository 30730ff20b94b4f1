"""The ``holdfast`` command, and ``python -m holdfast``."""

import gc

gc.disable()  # what an import makes stays: looking through it is a twelfth of a start. `call` turns it on again

from holdfast.cli.main import main  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    main()
