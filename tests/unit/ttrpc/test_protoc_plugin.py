import importlib
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from holdfast.ttrpc import Client, protoc_plugin

from tests.unit.ttrpc.harness import serving

PROTO = """
syntax = "proto3";
package odd.pkg;
import "google/protobuf/empty.proto";

message Outer { message Inner { string text = 1; } int64 number = 1; }

// Says things
// over two lines.
service Speaker {
  // Says it once.
  rpc Once(Outer.Inner) returns (Outer);
  rpc Down(Outer) returns (stream Outer.Inner);
  rpc Up(stream Outer) returns (google.protobuf.Empty);
  rpc Both(stream Outer) returns (stream Outer);
}
service Quiet {}
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The modules protoc writes for PROTO with our plugin, importable."""
    folder = tmp_path_factory.mktemp("protos")
    package = f"speech{os.getpid()}"
    (folder / package).mkdir()
    (folder / package / "speaker.proto").write_text(PROTO)
    program = folder / "protoc-gen-ttrpc-python"
    program.write_text(f"#!{sys.executable}\nfrom holdfast.ttrpc.protoc_plugin import main\nmain()\n")
    program.chmod(0o755)
    service = str(Path(protoc_plugin.__file__).parents[2])
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}"]
    command += [f"--python_out={folder}", f"--ttrpc-python_out={folder}", f"--plugin={program}"]
    subprocess.run([*command, f"{package}/speaker.proto"], check=True, env={**os.environ, "PYTHONPATH": service})
    sys.path.insert(0, str(folder))
    try:
        yield tuple(importlib.import_module(f"{package}.speaker_{kind}") for kind in ("pb2", "ttrpc"))
    finally:
        sys.path.remove(str(folder))


async def test_what_is_generated_serves_and_calls_every_kind_of_method(generated):
    pb2, ttrpc = generated
    outer, inner = pb2.Outer, pb2.Outer.Inner

    class Speaker(ttrpc.SpeakerServicer):
        async def Once(self, request, call):
            return outer(number=len(request.text))

        async def Down(self, request, call):
            for number in range(request.number):
                yield inner(text=str(number))

        async def Both(self, requests, call):
            async for message in requests:
                yield message

    def register(server):
        ttrpc.add_SpeakerServicer_to_server(Speaker(), server)
        ttrpc.add_QuietServicer_to_server(ttrpc.QuietServicer(), server)
        assert server.services == ("odd.pkg.Speaker", "odd.pkg.Quiet")

    async with serving(register) as (_, path), Client(path) as client:
        stub = ttrpc.SpeakerStub(client)
        assert (await stub.Once(inner(text="four"))).number == 4
        async with stub.Down(outer(number=2)) as call:
            assert [reply.text async for reply in call] == ["0", "1"]
        async with stub.Both() as call:
            await call.send(outer(number=7))
            await call.half_close()
            assert [reply.number async for reply in call] == [7]
        async with stub.Up() as call:
            with pytest.raises(Exception, match=r"^method Up$") as refused:
                await call.finish()
            assert refused.value.code == 12
    assert ttrpc.SpeakerServicer.__doc__ == "Says things over two lines."
    assert ttrpc.SpeakerServicer.Once.__doc__ == "Says it once."
    assert "holdfast" not in vars(ttrpc)


def asked(parameter=""):
    request = plugin_pb2.CodeGeneratorRequest(parameter=parameter, file_to_generate=["a-b/c-d.proto", "plain.proto"])
    one = FileDescriptorProto(name="a-b/c-d.proto", package="p")
    one.message_type.add(name="M")
    one.service.add(name="S").method.add(name="Do", input_type=".p.M", output_type=".p.M")
    other = FileDescriptorProto(name="plain.proto")
    other.message_type.add(name="M")
    request.proto_file.extend([one, other])
    return protoc_plugin.generate(request)


def test_only_files_with_services_get_a_module_and_dashes_become_underscores():
    (file,) = asked().file
    assert file.name == "a_b/c_d_ttrpc.py"
    assert "from a_b import c_d_pb2 as a_b_c_d_pb2\n" in file.content
    compile(file.content, file.name, "exec")


def test_the_package_of_the_annotations_can_be_another():
    (file,) = asked("runtime=some.where.rpc").file
    assert "    from some.where import rpc as ttrpc\n" in file.content
    assert "holdfast" not in file.content


def test_a_parameter_nobody_knows_is_an_error_protoc_prints():
    assert asked("tyop=1").error == "protoc-gen-ttrpc-python: unknown parameter tyop; there is runtime="
