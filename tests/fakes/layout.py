"""OCI layouts of bundles, as ``oras push --oci-layout`` leaves them, and broken ones."""

import hashlib
import json
import tarfile
from pathlib import Path

ARTIFACT = "application/vnd.holdfast.bundle.v1+json"
RULES = "application/vnd.holdfast.rules.v1+yaml"
FILE = "application/vnd.holdfast.file.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
MODE = "io.holdfast.bundle.mode"
TARGET = "io.holdfast.bundle.target"
TAG = "org.opencontainers.image.ref.name"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def rule(name: str, comm: str = "no-such-program", adj: int = 500) -> bytes:
    return f"- name: {name}\n  match: {{comm: {comm}}}\n  oom_score_adj: {adj}\n".encode()


def layer(path: str, data: bytes, media_type: str = FILE, **notes: str) -> dict:
    annotations = {TITLE: path, **{{"mode": MODE, "target": TARGET}.get(key, key): some for key, some in notes.items()}}
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), "annotations": annotations}


def manifest(*layers: dict, **over: object) -> bytes:
    config = {"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2}
    plain = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT, "config": config}
    return json.dumps({**plain, "layers": layers, **over}).encode()


class Layout:
    """A layout in a directory that grows by one bundle after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifests: list[dict] = []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.put(b"{}")

    def put(self, data: bytes) -> Path:
        path = self.path / "blobs" / "sha256" / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return path

    def add(self, tag: str, files: dict[str, bytes], **over: object) -> str:
        """A bundle of these files (``*.yaml`` are rules) under a tag; its digest."""
        layers = [layer(path, data, RULES if path.endswith(".yaml") else FILE) for path, data in files.items()]
        for data in files.values():
            self.put(data)
        return self.add_manifest(tag, manifest(*layers, **over))

    def add_manifest(self, tag: str, text: bytes, media_type: str = MANIFEST) -> str:
        self.put(text)
        entry = {"mediaType": media_type, "digest": digest(text), "size": len(text)}
        self.manifests.append({**entry, "annotations": {TAG: tag}})
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))
        return digest(text)

    def archived(self, path: Path) -> Path:
        """All of it as a tar archive."""
        with tarfile.open(path, "w") as archive:
            archive.add(self.path, arcname=".")
        return path
