"""Every service that ships implements every method of its API: a missing one is reported to its caller alone."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from holdfast import plugins

MODULES = [module.name for module in pkgutil.walk_packages(plugins.__path__, "holdfast.plugins.")]


def services():
    """Our classes that are a service of a generated module, with the methods that it declares."""
    found = {}
    for module in map(importlib.import_module, MODULES):
        for made in vars(module).values():
            if not isinstance(made, type) or made.__module__ != module.__name__:
                continue
            for base in made.__bases__:
                if base.__module__.startswith("holdfast.api.") and base.__name__.endswith("Servicer"):
                    found[made] = [name for name in vars(base) if not name.startswith("_")]
    return found


@pytest.mark.parametrize(("service", "methods"), services().items(), ids=lambda one: getattr(one, "__name__", ""))
def test_each_method_is_implemented(service, methods):
    assert methods
    assert [name for name in methods if getattr(service, name) is getattr(service.__bases__[0], name)] == []


def test_they_are_all_there():
    names = {service.__name__ for service in services()}
    assert {"ContentServicer", "ImagesServicer", "PlacementService", "PluginService", "Events"} <= names
