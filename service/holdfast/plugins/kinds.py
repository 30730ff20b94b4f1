"""The kinds by which our plugins find each other; importing this imports none of them.

A kind of containerd keeps its URI; ours begin with ``io.holdfast``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.plugin import Kind, services

if TYPE_CHECKING:
    from holdfast.bundle import Bundles
    from holdfast.cgroups import Hierarchy
    from holdfast.events import Exchange
    from holdfast.pods.directory import Directory
    from holdfast.store import Backend, MetadataStore, Scheduler

SERVER = services.SERVER  # the daemon itself knows this one and the next
METRICS = services.METRICS
EVENTS: Kind[Exchange] = Kind("io.containerd.event.v1")
INTERNAL: Kind[Any] = Kind("io.containerd.internal.v1")
SERVICE: Kind[Any] = Kind("io.containerd.service.v1")
GRPC: Kind[Any] = Kind("io.containerd.grpc.v1")
TTRPC: Kind[Any] = Kind("io.containerd.ttrpc.v1")
CONTENT: Kind[Backend] = Kind("io.containerd.content.v1")
SNAPSHOT: Kind[Any] = Kind("io.containerd.snapshotter.v1")
DIFFER: Kind[Any] = Kind("io.containerd.differ.v1")
METADATA: Kind[MetadataStore] = Kind("io.containerd.metadata.v1")
GC: Kind[Scheduler] = Kind("io.containerd.gc.v1")
SANDBOX: Kind[Any] = Kind("io.containerd.sandbox.controller.v1")
CGROUPS: Kind[Hierarchy] = Kind("io.holdfast.cgroups.v1")
BUNDLES: Kind[Bundles] = Kind("io.holdfast.bundle.v1")
API: Kind[Any] = Kind("io.holdfast.grpc.v1")  # our services over plugins that are no services themselves
PODS: Kind[Directory] = Kind("io.holdfast.pods.v1")
PLACEMENT: Kind[Any] = Kind("io.holdfast.placement.v1")
NRI: Kind[Any] = Kind("io.holdfast.nri.v1")
WEB: Kind[Any] = Kind("io.holdfast.web.v1")
ENTRY_POINT: Kind[Any] = Kind("io.holdfast.entry-point.v1")
