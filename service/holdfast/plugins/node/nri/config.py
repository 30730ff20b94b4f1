"""Settings and names of the NRI plugin."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from holdfast.config import Duration

NAMESPACE = "holdfast"  # of the events
SERVICE = "nri.pkg.api.v1alpha1.Plugin"  # its name in health: serving while a runtime has us


class NriConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the container runtime's plugin, which sets values before a container's first instruction."""

    enabled: Annotated[
        bool, Meta(description="be an NRI plugin. It is root-equivalent trust: a plugin may change any container")
    ] = False
    socket_path: Annotated[str, Meta(min_length=1, description="the runtime's socket for plugins")] = (
        "/var/run/nri/nri.sock"
    )
    plugin_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.+-]+$", description="the name it registers under")] = (
        "holdfast"
    )
    plugin_index: Annotated[
        str,
        Meta(pattern="^[0-9]{2}$", description="its place among the runtime's plugins; lower ones are called first"),
    ] = "10"
    budget: Annotated[
        Duration,
        Meta(gt=0, le=2, description="time for one answer; then the container is created as the kubelet requested"),
    ] = 0.5
    lowest_oom_score_adj: Annotated[
        int,
        Meta(
            ge=-1000,
            le=1000,
            description="values below it are not given at creation: a runtime without CAP_SYS_RESOURCE fails a "
            "container whose value it may not lower. 0 leaves all negative ones to the daemon itself",
        ),
    ] = -1000
