"""The images of a cluster, as OCI archives under .cache/: none is pulled.

``pause`` is a static program of ours, ``busybox`` Debian's static one, and holdfast's is built by its Dockerfile.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from functools import cache
from pathlib import Path

from tests import guest
from tests.cluster.state import CACHE
from tests.image.build import build_image, buildah
from tests.needs import path_of

PAUSE = "localhost/holdfast-test-pause:1"
BUSYBOX = "localhost/holdfast-test-busybox:1"
HOLDFAST = "ghcr.io/holdfast/holdfast"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
EPOCH = "1970-01-01T00:00:00Z"


@cache
def archives() -> list[Path]:
    """Every image's archive, made where it is not there yet or something changed."""
    if guest.is_inside():  # made before it booted: a build takes long where the processor is emulated
        return [CACHE / f"{name}.tar" for name in ("pause", "busybox", "holdfast")]
    CACHE.mkdir(parents=True, exist_ok=True)
    return [pause(), busybox(), holdfast()]


def pause() -> Path:
    """The program that holds a pod's namespaces."""
    program = Path(path_of("pause")).read_bytes()
    return archive("pause", PAUSE, ["/pause"], {"pause": program})


def busybox() -> Path:
    """A shell and its tools; every applet is a link."""
    path = path_of("busybox")
    names = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = dict.fromkeys((f"bin/{name}" for name in names if name != "busybox"), "busybox")
    return archive("busybox", BUSYBOX, ["/bin/sh"], {"bin/busybox": Path(path).read_bytes()}, links)


def holdfast() -> Path:
    """The image of this checkout."""
    digest = build_image("kept")
    path = CACHE / "holdfast.tar"
    stamp = CACHE / "holdfast.digest"
    if not path.exists() or not stamp.exists() or stamp.read_text() != digest:
        path.unlink(missing_ok=True)
        buildah(
            "push",
            "--quiet",
            "--disable-compression",
            "localhost/holdfast-test:kept",
            f"oci-archive:{path}:{HOLDFAST}:test",
        )
        stamp.write_text(digest)
    return path


def archive(
    name: str, reference: str, entrypoint: list[str], files: dict[str, bytes], links: dict[str, str] | None = None
) -> Path:
    """Write an OCI layout with one layer (image-layout.md of the OCI image specification) as a tar file."""
    layer = tar(files, 0o755, links)
    config = {
        "created": EPOCH,
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        "history": [{"created": EPOCH, "created_by": "tests/cluster"}],
    }
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, content: bytes) -> dict[str, object]:
        digest = digest_of(content)
        blobs[f"blobs/sha256/{digest.partition(':')[2]}"] = content
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": digest, "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", encoded(config)),
        "layers": [blob("layer.v1.tar", layer)],
    }
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **blob("manifest.v1+json", encoded(manifest)),
                "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
            }
        ],
    }
    layout = {"oci-layout": encoded({"imageLayoutVersion": "1.0.0"}), "index.json": encoded(index)}
    path = CACHE / f"{name}.tar"
    content = tar({**layout, **blobs}, 0o644)
    if not path.exists() or path.read_bytes() != content:
        temporary = path.with_suffix(".part")
        temporary.write_bytes(content)
        temporary.rename(path)
    return path


def tar(files: dict[str, bytes], mode: int, links: dict[str, str] | None = None) -> bytes:
    """A tar file with these files, and links to paths beside them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for folder in sorted({str(Path(name).parent) for name in files} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            made.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            made.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            made.addfile(entry)
    return out.getvalue()


def digest_of(content: bytes) -> str:
    """As the OCI specification writes it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encoded(value: object) -> bytes:
    """JSON."""
    return json.dumps(value, indent=1, sort_keys=True).encode()
