"""Deciding what follows for one process: values, cgroups, settings, preview. No I/O."""
