"""Generate ``service/holdfast/api`` from ``protos/holdfast/api``; ``--check`` fails when what is committed is stale."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
API = PROTOS.parent / "service" / "holdfast" / "api"
PLUGIN = API.parent / "ttrpc" / "protoc_plugin.py"
BUNDLED = (str(files("grpc_tools") / "_proto"), str(Path(status_pb2.__file__).parents[2]))
OVER_TTRPC = ("/api/services/ttrpc/", "/api/nri/")  # the services in these folders are spoken over ttrpc
DOOR = '"""Generated from ``protos/``: change the .proto, then ``make protos``."""\n'


def generate(into: Path) -> None:
    """Write the whole ``holdfast/api`` package below ``into``."""
    sources = sorted(PROTOS.glob("holdfast/api/**/*.proto"))
    includes = [f"-I{path}" for path in (PROTOS, *BUNDLED)]
    services = [str(path) for path in sources if "\nservice " in path.read_text()]
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi")]
    over_ttrpc = [name for name in services if any(folder in name for folder in OVER_TTRPC)]
    over_grpc = [name for name in services if name not in over_ttrpc]
    ttrpc = [f"--plugin=protoc-gen-ttrpc-python={plugin_in(into)}", f"--ttrpc-python_out={into}"]
    for arguments in (
        [*outputs, *map(str, sources)],
        [f"--grpc_python_out={into}", *over_grpc],
        [*ttrpc, *over_ttrpc],
    ):
        if protoc.main(["protoc", *includes, *arguments]) != 0:
            sys.exit(1)
    (into / "holdfast" / "api" / "__init__.py").write_text(DOOR)
    for folder in (into / "holdfast" / "api").rglob("*/"):
        (folder / "__init__.py").touch()


def plugin_in(folder: Path) -> Path:
    """Our protoc plugin as a program of its own, so that stubs can be made before the package can be imported."""
    program = folder / PLUGIN.stem
    program.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(PLUGIN)!r}, run_name='__main__')\n")
    program.chmod(0o755)
    return program


def differences(fresh: Path, committed: Path) -> list[str]:
    """Files that are missing, left over or changed, relative to the package."""
    names = {
        path.relative_to(top)
        for top in (fresh, committed)
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    _, changed, missing = filecmp.cmpfiles(fresh, committed, map(str, names), shallow=False)
    return sorted(changed + missing)


def main() -> None:
    """Generate, or compare with what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "holdfast" / "api"
        if "--check" not in sys.argv[1:]:
            shutil.rmtree(API, ignore_errors=True)
            shutil.copytree(fresh, API)
        elif stale := differences(fresh, API):
            print(f"protos: stale: {' '.join(stale)}; run `make protos`", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
