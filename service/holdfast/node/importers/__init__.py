"""Importers of other tools' rules."""
