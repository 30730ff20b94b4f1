"""holdfast: the node daemon that holds fast the processes a machine cannot afford to lose."""

import os

__version__ = "0.1.0"
__revision__ = os.environ.get("HOLDFAST_REVISION", "")  # the commit an image was built from; its Dockerfile says
