"""Bundles: files by digest, copied from an OCI layout into content, applied together, rolled back together.

``manifest`` defines a bundle and refuses anything else; ``layout`` reads a bundle on disk; ``bundle_dir`` keeps the
directories of applied bundles, ``history`` their order, ``links`` their files elsewhere on the node; ``bundles``
combines these with the content store.
"""

from holdfast.bundle.bundle_dir import BundleDir
from holdfast.bundle.bundles import Bundles, Listed, Outcome
from holdfast.bundle.manifest import Contents, File

__all__ = ["BundleDir", "Bundles", "Contents", "File", "Listed", "Outcome"]
