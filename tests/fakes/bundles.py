"""Bundles put into a real store by hand, as the client's pull leaves them."""

from contextlib import suppress

from holdfast.bundle.bundles import LABEL, NAMESPACE, PULLED
from holdfast.bundle.manifest import MANIFEST
from holdfast.errors import AlreadyExists
from holdfast.store.objects.images import Descriptor, Image
from holdfast.store.objects.leases import CONTENT, Resource

from tests.fakes.layout import FILE, RULES, digest, layer, manifest

FAR = {"containerd.io/gc.expire": "2999-01-01T00:00:00Z"}


async def put(metadata, data, labels=None):
    store = metadata.content.within(NAMESPACE)
    with suppress(AlreadyExists):
        writer = await store.writer(f"ref-{digest(data)}", len(data), digest(data))
        await writer.write(data)
        await writer.commit(len(data), digest(data), labels or {})
        await writer.close()
    return digest(data)


async def pull(metadata, name, files, **notes):
    """A bundle of these files (``*.yaml`` are rules) under a name; its digest."""
    layers = [layer(path, data, RULES if path.endswith(".yaml") else FILE, **notes) for path, data in files.items()]
    text = manifest(*layers)
    lease = PULLED + digest(text).partition(":")[2]
    with suppress(AlreadyExists):
        await metadata.leases.create(NAMESPACE, lease, {LABEL: digest(text), **FAR})
    refs = {}
    for at, data in enumerate([b"{}", *files.values()]):
        refs[f"containerd.io/gc.ref.content.{at}"] = await put(metadata, data)
        await metadata.leases.add(NAMESPACE, lease, Resource(CONTENT, digest(data)))
    await put(metadata, text, refs)
    await metadata.leases.add(NAMESPACE, lease, Resource(CONTENT, digest(text)))
    image = Image(name, Descriptor(MANIFEST, digest(text), len(text)), {LABEL: digest(text), **FAR})
    await metadata.images.create(NAMESPACE, image)
    return digest(text)
