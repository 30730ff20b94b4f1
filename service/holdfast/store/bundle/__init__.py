"""Bundles: files by digest, taken from an OCI layout into content, put in force as one, taken back as one.

``manifest`` says what a bundle is and refuses what is none; ``layout`` reads one where it lies; ``shelf`` keeps the
directories of applied ones, ``history`` their order, ``links`` their files elsewhere on the node; ``bundles`` is all of
it over the content store.
"""

from holdfast.store.bundle.bundles import Bundles, Listed, Outcome
from holdfast.store.bundle.manifest import Contents, File
from holdfast.store.bundle.shelf import Shelf

__all__ = ["Bundles", "Contents", "File", "Listed", "Outcome", "Shelf"]
