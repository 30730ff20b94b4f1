"""Metadata objects of a namespace, and the namespaces themselves.

- `namespaces`, `images`, `containers`: containerd's objects of that name
- `leases`: what is kept from collection, and until when
"""
