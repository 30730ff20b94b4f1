"""protoc-gen-ttrpc-python: typed servicers and client stubs of a .proto's services, ``*_ttrpc.py`` beside ``*_pb2.py``.

``protoc --ttrpc-python_out=OUT --plugin=… file.proto``; the parameter ``runtime=some.package`` names the package the
annotations refer to (`holdfast.ttrpc` unless given). The generated code imports that package for the type checker only.
Source: google/protobuf/compiler/plugin.proto.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto

RUNTIME = "holdfast.ttrpc"
_SERVICE_FIELD, _METHOD_FIELD = 6, 2  # FileDescriptorProto.service, ServiceDescriptorProto.method: a comment's path
_SHAPES = {  # (client streams, server streams) -> the factory of Client, and the type it makes
    (False, False): ("unary", "UnaryMethod"),
    (False, True): ("server_stream", "ServerStreamMethod"),
    (True, False): ("client_stream", "ClientStreamMethod"),
    (True, True): ("bidi_stream", "ClientStreamMethod"),
}


def module_of(proto: str) -> tuple[str, str]:
    """Return package and module of a .proto's messages: ``a/b.proto`` is ``a``, ``b_pb2``."""
    package, _, name = proto.removesuffix(".proto").replace("-", "_").replace("/", ".").rpartition(".")
    return package, f"{name}_pb2"


def alias_of(proto: str) -> str:
    """Return the generated file's name for a module of messages."""
    return "_".join(filter(None, module_of(proto))).replace(".", "_")


class Messages:
    """Map of the request's messages to their files."""

    def __init__(self, files: Iterator[FileDescriptorProto] | list[FileDescriptorProto]) -> None:
        self._homes: dict[str, tuple[str, str]] = {}
        for file in files:
            prefix = f".{file.package}" if file.package else ""
            for message in file.message_type:
                self._add(file.name, prefix, message.name, message.name)
                for inner in message.nested_type:
                    self._add(file.name, f"{prefix}.{message.name}", inner.name, f"{message.name}.{inner.name}")

    def _add(self, proto: str, prefix: str, name: str, python_name: str) -> None:
        self._homes[f"{prefix}.{name}"] = (proto, python_name)

    def home(self, full_name: str) -> str:
        """Return the .proto that declares a message."""
        return self._homes[full_name][0]

    def python(self, full_name: str) -> str:
        """Return a message's class as written in the generated file."""
        proto, name = self._homes[full_name]
        return f"{alias_of(proto)}.{name}"


class GeneratedFile:
    """The text of one generated file."""

    def __init__(self, file: FileDescriptorProto, messages: Messages, runtime: str) -> None:
        self._file = file
        self._messages = messages
        self._runtime = runtime
        self._comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}

    def text(self) -> str:
        """Return the whole module."""
        parts = [self._head()]
        for index, service in enumerate(self._file.service):
            parts += [self._servicer(index, service), self._adder(service), self._stub(service)]
        return "\n\n".join(parts)

    def _head(self) -> str:
        homes = {
            self._messages.home(name)
            for service in self._file.service
            for method in service.method
            for name in (method.input_type, method.output_type)
        }
        package, _, name = self._runtime.rpartition(".")
        runtime = f"from {package} import {name} as ttrpc" if package else f"import {name} as ttrpc"
        lines = [f'"""Generated from {self._file.name} by protoc-gen-ttrpc-python: change the .proto."""', ""]
        lines += ["from __future__ import annotations", "", "from typing import TYPE_CHECKING", ""]
        for proto in sorted(homes):
            package, module = module_of(proto)
            origin = f"from {package} import {module}" if package else f"import {module}"
            lines.append(f"{origin} as {alias_of(proto)}")
        lines += ["", "if TYPE_CHECKING:", "    from collections.abc import AsyncIterator", "", f"    {runtime}", ""]
        return "\n".join(lines)

    def _name(self, service: ServiceDescriptorProto) -> str:
        return f"{self._file.package}.{service.name}" if self._file.package else service.name

    def _doc(self, path: tuple[int, ...], otherwise: str, indent: str) -> str:
        words = " ".join(self._comments.get(path, "").split()) or otherwise
        return f'{indent}"""{words.replace(chr(92), "").replace(chr(34) * 3, "")}"""'

    def _servicer(self, index: int, service: ServiceDescriptorProto) -> str:
        lines = [f"class {service.name}Servicer:"]
        about = f"The methods of {self._name(service)}; override those you serve."
        lines.append(self._doc((_SERVICE_FIELD, index), about, "    "))
        for at, method in enumerate(service.method):
            comment = self._doc((_SERVICE_FIELD, index, _METHOD_FIELD, at), "Not served unless overridden.", "        ")
            lines += [
                "",
                self._signature(method),
                comment,
                f'        raise NotImplementedError("method {method.name}")',
            ]
        return "\n".join(lines) + "\n"

    def _signature(self, method: MethodDescriptorProto) -> str:
        request, reply = self._messages.python(method.input_type), self._messages.python(method.output_type)
        argument = f"requests: AsyncIterator[{request}]" if method.client_streaming else f"request: {request}"
        result = f"AsyncIterator[{reply}]" if method.server_streaming else reply
        word = "def" if method.server_streaming else "async def"
        return f"    {word} {method.name}(self, {argument}, call: ttrpc.ServerCall) -> {result}:"

    def _adder(self, service: ServiceDescriptorProto) -> str:
        name = f"{service.name}Servicer"
        lines = [
            f"def add_{name}_to_server(servicer: {name}, server: ttrpc.Registrar) -> None:",
            f'    """Serve {self._name(service)} with ``servicer``."""',
            "    server.register(",
            f'        "{self._name(service)}",',
            "        {",
        ]
        for method in service.method:
            request, reply = self._messages.python(method.input_type), self._messages.python(method.output_type)
            flags = f"{method.client_streaming}, {method.server_streaming}"
            lines.append(f'            "{method.name}": (servicer.{method.name}, {request}, {reply}, {flags}),')
        return "\n".join([*lines, "        },", "    )", ""])

    def _stub(self, service: ServiceDescriptorProto) -> str:
        lines = [
            f"class {service.name}Stub:",
            f'    """{self._name(service)} as its clients call it."""',
            "",
            "    def __init__(self, client: ttrpc.Client) -> None:",
        ]
        for method in service.method:
            factory, kind = _SHAPES[method.client_streaming, method.server_streaming]
            request, reply = self._messages.python(method.input_type), self._messages.python(method.output_type)
            lines.append(f"        self.{method.name}: ttrpc.{kind}[{request}, {reply}] = client.{factory}(")
            lines.append(f'            "{self._name(service)}", "{method.name}", {request}, {reply}')
            lines.append("        )")
        if not service.method:
            lines.append("        pass")
        return "\n".join(lines) + "\n"


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Return a ``*_ttrpc.py`` for each requested file that has services."""
    response = plugin_pb2.CodeGeneratorResponse()
    response.supported_features = plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    options = dict(option.partition("=")[::2] for option in request.parameter.split(",") if option)
    runtime = options.pop("runtime", RUNTIME)
    if options:
        response.error = f"protoc-gen-ttrpc-python: unknown parameter {sorted(options)[0]}; there is runtime="
        return response
    messages = Messages(list(request.proto_file))
    wanted = set(request.file_to_generate)
    for file in request.proto_file:
        if file.name in wanted and file.service:
            name = file.name.removesuffix(".proto").replace("-", "_")
            response.file.add(name=f"{name}_ttrpc.py", content=GeneratedFile(file, messages, runtime).text())
    return response


def main() -> None:
    """Speak protoc's plugin protocol on stdin and stdout."""
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())


if __name__ == "__main__":
    main()
