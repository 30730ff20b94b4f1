"""Shared by every bench module: figures, and the two daemons side by side."""
