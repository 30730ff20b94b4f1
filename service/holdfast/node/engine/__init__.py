"""The engine: its loop, its reconciler, and the calls other threads make."""
