"""Generated from holdfast/api/nri/v1alpha1/nri.proto by protoc-gen-ttrpc-python: change the .proto."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.nri.v1alpha1 import nri_pb2 as holdfast_api_nri_v1alpha1_nri_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast import ttrpc as ttrpc


class RuntimeServicer:
    """Served by the container runtime."""

    async def RegisterPlugin(self, request: holdfast_api_nri_v1alpha1_nri_pb2.RegisterPluginRequest, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method RegisterPlugin")

    async def UpdateContainers(self, request: holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersRequest, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersResponse:
        """Not served unless overridden."""
        raise NotImplementedError("method UpdateContainers")


def add_RuntimeServicer_to_server(servicer: RuntimeServicer, server: ttrpc.Registrar) -> None:
    """Serve nri.pkg.api.v1alpha1.Runtime with ``servicer``."""
    server.register(
        "nri.pkg.api.v1alpha1.Runtime",
        {
            "RegisterPlugin": (servicer.RegisterPlugin, holdfast_api_nri_v1alpha1_nri_pb2.RegisterPluginRequest, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "UpdateContainers": (servicer.UpdateContainers, holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersRequest, holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersResponse, False, False),
        },
    )


class RuntimeStub:
    """nri.pkg.api.v1alpha1.Runtime as its clients call it."""

    def __init__(self, client: ttrpc.Client) -> None:
        self.RegisterPlugin: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.RegisterPluginRequest, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Runtime", "RegisterPlugin", holdfast_api_nri_v1alpha1_nri_pb2.RegisterPluginRequest, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.UpdateContainers: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersRequest, holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersResponse] = client.unary(
            "nri.pkg.api.v1alpha1.Runtime", "UpdateContainers", holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersRequest, holdfast_api_nri_v1alpha1_nri_pb2.UpdateContainersResponse
        )


class PluginServicer:
    """Served by a plugin."""

    async def Configure(self, request: holdfast_api_nri_v1alpha1_nri_pb2.ConfigureRequest, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.ConfigureResponse:
        """Not served unless overridden."""
        raise NotImplementedError("method Configure")

    async def Synchronize(self, request: holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeRequest, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeResponse:
        """Not served unless overridden."""
        raise NotImplementedError("method Synchronize")

    async def Shutdown(self, request: holdfast_api_nri_v1alpha1_nri_pb2.Empty, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method Shutdown")

    async def RunPodSandbox(self, request: holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method RunPodSandbox")

    async def StopPodSandbox(self, request: holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method StopPodSandbox")

    async def RemovePodSandbox(self, request: holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method RemovePodSandbox")

    async def CreateContainer(self, request: holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.CreateContainerResponse:
        """Not served unless overridden."""
        raise NotImplementedError("method CreateContainer")

    async def PostStartContainer(self, request: holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method PostStartContainer")

    async def StopContainer(self, request: holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.StopContainerResponse:
        """Not served unless overridden."""
        raise NotImplementedError("method StopContainer")

    async def RemoveContainer(self, request: holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method RemoveContainer")

    async def StateChange(self, request: holdfast_api_nri_v1alpha1_nri_pb2.StateChangeEvent, call: ttrpc.ServerCall) -> holdfast_api_nri_v1alpha1_nri_pb2.Empty:
        """Every event, in a runtime that has no method for each."""
        raise NotImplementedError("method StateChange")


def add_PluginServicer_to_server(servicer: PluginServicer, server: ttrpc.Registrar) -> None:
    """Serve nri.pkg.api.v1alpha1.Plugin with ``servicer``."""
    server.register(
        "nri.pkg.api.v1alpha1.Plugin",
        {
            "Configure": (servicer.Configure, holdfast_api_nri_v1alpha1_nri_pb2.ConfigureRequest, holdfast_api_nri_v1alpha1_nri_pb2.ConfigureResponse, False, False),
            "Synchronize": (servicer.Synchronize, holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeRequest, holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeResponse, False, False),
            "Shutdown": (servicer.Shutdown, holdfast_api_nri_v1alpha1_nri_pb2.Empty, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "RunPodSandbox": (servicer.RunPodSandbox, holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "StopPodSandbox": (servicer.StopPodSandbox, holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "RemovePodSandbox": (servicer.RemovePodSandbox, holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "CreateContainer": (servicer.CreateContainer, holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.CreateContainerResponse, False, False),
            "PostStartContainer": (servicer.PostStartContainer, holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "StopContainer": (servicer.StopContainer, holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.StopContainerResponse, False, False),
            "RemoveContainer": (servicer.RemoveContainer, holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
            "StateChange": (servicer.StateChange, holdfast_api_nri_v1alpha1_nri_pb2.StateChangeEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty, False, False),
        },
    )


class PluginStub:
    """nri.pkg.api.v1alpha1.Plugin as its clients call it."""

    def __init__(self, client: ttrpc.Client) -> None:
        self.Configure: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.ConfigureRequest, holdfast_api_nri_v1alpha1_nri_pb2.ConfigureResponse] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "Configure", holdfast_api_nri_v1alpha1_nri_pb2.ConfigureRequest, holdfast_api_nri_v1alpha1_nri_pb2.ConfigureResponse
        )
        self.Synchronize: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeRequest, holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeResponse] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "Synchronize", holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeRequest, holdfast_api_nri_v1alpha1_nri_pb2.SynchronizeResponse
        )
        self.Shutdown: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.Empty, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "Shutdown", holdfast_api_nri_v1alpha1_nri_pb2.Empty, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.RunPodSandbox: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "RunPodSandbox", holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.StopPodSandbox: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "StopPodSandbox", holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.RemovePodSandbox: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "RemovePodSandbox", holdfast_api_nri_v1alpha1_nri_pb2.PodEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.CreateContainer: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.CreateContainerResponse] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "CreateContainer", holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.CreateContainerResponse
        )
        self.PostStartContainer: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "PostStartContainer", holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.StopContainer: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.StopContainerResponse] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "StopContainer", holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.StopContainerResponse
        )
        self.RemoveContainer: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "RemoveContainer", holdfast_api_nri_v1alpha1_nri_pb2.ContainerEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
        self.StateChange: ttrpc.UnaryMethod[holdfast_api_nri_v1alpha1_nri_pb2.StateChangeEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty] = client.unary(
            "nri.pkg.api.v1alpha1.Plugin", "StateChange", holdfast_api_nri_v1alpha1_nri_pb2.StateChangeEvent, holdfast_api_nri_v1alpha1_nri_pb2.Empty
        )
