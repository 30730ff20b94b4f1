import ast
from pathlib import Path

from holdfast import ttrpc

PACKAGE = Path(ttrpc.__file__).parent


def test_the_face_of_the_package_is_what_it_says_it_is():
    assert set(ttrpc.__all__) == {
        "CallOptions",
        "Client",
        "ClientCall",
        "ClientInterceptor",
        "ClientStreamMethod",
        "Handler",
        "Handshake",
        "Interceptor",
        "Invoke",
        "Kind",
        "Limits",
        "Metadata",
        "Method",
        "Peer",
        "Reconnect",
        "Registrar",
        "Server",
        "ServerCall",
        "ServerStreamMethod",
        "UnaryMethod",
        "anyone",
        "require",
        "same_user",
        "unix",
    }
    assert all(hasattr(ttrpc, name) for name in ttrpc.__all__)


def imports():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                yield path.name, node.module if node.module != "holdfast" else f"holdfast.{node.names[0].name}"
            elif isinstance(node, ast.Import):
                yield from ((path.name, alias.name) for alias in node.names)


def test_another_project_could_take_the_package_out():
    ours = {module for _, module in imports() if module.startswith("holdfast")}
    assert {module for module in ours if not module.startswith("holdfast.ttrpc")} == {
        "holdfast.api.ttrpc",
        "holdfast.errors",
        "holdfast.failure",
        "holdfast.inert",
        "holdfast.log",
    }


def test_it_needs_nothing_but_the_standard_library_and_protobuf():
    import sys

    foreign = {module.split(".")[0] for _, module in imports()} - set(sys.stdlib_module_names)
    assert foreign == {"google", "holdfast"}
