"""A fake container runtime at the gRPC seam: answers CRI's calls from two dictionaries. No container is ever made."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import grpc
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.api.runtime.v1 import runtime_pb2_grpc

from tests.running import PATIENCE_S

GIB = 1 << 30


class FakeRuntime(runtime_pb2_grpc.RuntimeServiceServicer):
    """``calls`` counts requests; ``verbose`` maps a container's id to the document its status carries."""

    def __init__(self, name: str = "containerd", version: str = "1.6.20") -> None:
        self.name, self.version = name, version
        self.pods: dict[str, pb.PodSandbox] = {}
        self.containers: dict[str, pb.Container] = {}
        self.verbose: dict[str, object] = {}
        self.events: asyncio.Queue[pb.ContainerEventResponse | None] | None = None
        self.calls: Counter[str] = Counter()
        self.asked = asyncio.Condition()

    async def _count(self, call: str) -> None:
        async with self.asked:
            self.calls[call] += 1
            self.asked.notify_all()

    async def until(self, call: str, times: int) -> None:
        """Wait until a call was answered so often."""
        async with self.asked:
            await asyncio.wait_for(self.asked.wait_for(lambda: self.calls[call] >= times), PATIENCE_S)

    def add_pod(self, sandbox_id: str, uid: str, namespace: str, name: str, **given) -> None:
        self.pods[sandbox_id] = pb.PodSandbox(
            id=sandbox_id, metadata=pb.PodSandboxMetadata(name=name, uid=uid, namespace=namespace), **given
        )

    def add_container(self, container_id: str, sandbox_id: str, name: str, state=pb.CONTAINER_RUNNING) -> None:
        self.containers[container_id] = pb.Container(
            id=container_id, pod_sandbox_id=sandbox_id, metadata=pb.ContainerMetadata(name=name), state=state
        )

    def add_details(self, container_id: str, pid: int, adj: int, asked: int | None = None, limit: int = 0) -> None:
        """As containerd 1.6 has it (shortened)."""
        resources = {"oom_score_adj": adj if asked is None else asked, "memory_limit_in_bytes": limit}
        self.verbose[container_id] = {
            "sandboxID": self.containers[container_id].pod_sandbox_id,
            "pid": pid,
            "config": {"metadata": {"name": "x"}, "linux": {"resources": resources}},
            "runtimeSpec": {"process": {"oomScoreAdj": adj}, "linux": {"cgroupsPath": f"/kubepods/x/{container_id}"}},
        }

    async def Version(self, request, context):
        await self._count("Version")
        return pb.VersionResponse(version="0.1.0", runtime_name=self.name, runtime_version=self.version)

    async def ListPodSandbox(self, request, context):
        found = [pod for key, pod in self.pods.items() if request.filter.id in ("", key)]
        await self._count("ListPodSandbox" + (":one" if request.filter.id else ""))
        return pb.ListPodSandboxResponse(items=found)

    async def ListContainers(self, request, context):
        found = [one for key, one in self.containers.items() if request.filter.id in ("", key)]
        await self._count("ListContainers" + (":one" if request.filter.id else ""))
        return pb.ListContainersResponse(containers=found)

    async def ContainerStatus(self, request, context):
        await self._count("ContainerStatus")
        one = self.containers.get(request.container_id)
        if one is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        info = {"info": json.dumps(self.verbose[one.id])} if one.id in self.verbose else {}
        status = pb.ContainerStatus(id=one.id, metadata=one.metadata, state=one.state, started_at=5)
        return pb.ContainerStatusResponse(status=status, info=info)

    async def GetContainerEvents(self, request, context):
        if self.events is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "method GetContainerEvents not implemented")
        await self._count("GetContainerEvents")
        while (event := await self.events.get()) is not None:
            yield event

    @asynccontextmanager
    async def serving(self, path):
        """Listen at ``path`` for as long as the block."""
        server = grpc.aio.server()
        runtime_pb2_grpc.add_RuntimeServiceServicer_to_server(self, server)
        server.add_insecure_port(f"unix://{path}")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)
