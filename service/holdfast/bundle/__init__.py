"""Bundles: files by digest, from a registry or an OCI layout into content, applied together, rolled back together.

- `manifest`: the format of a bundle; everything else is refused
- `layout`: a bundle on disk, as a directory or a tar archive
- `registry`: a bundle in a registry
- `bundle_dir`: the directories of applied bundles
- `history`: their order
- `links`: their files elsewhere on the node
- `bundles`: applies a bundle from the content store, and rolls it back
"""

from holdfast.bundle.bundle_dir import BundleDir
from holdfast.bundle.bundles import Bundles, Listed, Outcome
from holdfast.bundle.manifest import Contents, File

__all__ = ["BundleDir", "Bundles", "Contents", "File", "Listed", "Outcome"]
