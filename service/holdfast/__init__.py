"""holdfast: the node daemon that holds fast the processes a machine cannot afford to lose."""

__version__ = "0.1.0"
