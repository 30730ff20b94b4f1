from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2 as pb
from holdfast.plugins.containerd import reflection
from holdfast.plugins.containerd.version import Versions

from tests.unit.rpc.serving import serving

VERSION = "containerd.services.version.v1.Version"


def register(registrar):
    made = reflection.Reflection()
    made.register_grpc(registrar)
    Versions().register_grpc(registrar)  # after reflection: it is listed all the same


async def ask(served, service, *questions):
    method = served.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        pb.ServerReflectionRequest.SerializeToString,
        pb.ServerReflectionResponse.FromString,
    )
    return [answer async for answer in method(iter(questions))]


def files_of(answer):
    return [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("service", [reflection.V1, reflection.V1ALPHA])
async def test_services_are_listed_and_described_under_both_names(short_dir, service):
    questions = (
        pb.ServerReflectionRequest(list_services=""),
        pb.ServerReflectionRequest(file_containing_symbol=VERSION),
        pb.ServerReflectionRequest(file_containing_symbol=service),
        pb.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"),
        pb.ServerReflectionRequest(file_by_filename="no/such/file.proto"),
    )
    async with serving(short_dir, register=register) as served:
        listed, version, itself, nothing, no_file = await ask(served, service, *questions)
    names = [found.name for found in listed.list_services_response.service]
    assert names == sorted([VERSION, reflection.V1, reflection.V1ALPHA])
    assert {file.name for file in files_of(version)} >= {"google/protobuf/empty.proto"}
    assert [found.name for file in files_of(itself) for found in file.service] == ["ServerReflection"]
    for refused in (nothing, no_file):
        assert refused.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_v1_describes_itself_without_entering_the_processs_pool():
    service = reflection.Pools().FindFileContainingSymbol(reflection.V1).services_by_name["ServerReflection"]
    method = service.methods_by_name["ServerReflectionInfo"]
    assert method.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"
    assert method.output_type.fields_by_name["file_descriptor_response"].message_type.full_name == (
        "grpc.reflection.v1.FileDescriptorResponse"
    )
    assert reflection.Pools().FindFileByName("grpc/reflection/v1/reflection.proto").package == "grpc.reflection.v1"
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindServiceByName(reflection.V1)


async def test_a_question_with_nothing_in_it_is_answered_as_one(short_dir):
    async with serving(short_dir, register=register) as served:
        (answer,) = await ask(served, reflection.V1, pb.ServerReflectionRequest())
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_reflection_is_not_counted(short_dir):
    async with serving(short_dir, register=register) as served:
        await ask(served, reflection.V1, pb.ServerReflectionRequest(list_services=""))
        assert [method.labels["grpc_service"] for method in served.layer.counters._methods.values()] == [VERSION]
