"""The programs that the scenarios run with: the newest Kubernetes and Helm 4, or those that the environment names. A
folder of ``tests/peers`` pins the version of each.
"""

from __future__ import annotations

import os

#: Kubernetes in one program: ``hyperkube``, or ``hyperkube-oldest`` (`make cluster-oldest`).
KUBERNETES = os.environ.get("KUBERNETES", "hyperkube")
#: ``helm4`` or ``helm3``. ``tests/e2e/run`` reads the same variable.
HELM = os.environ.get("HELM", "helm4")
