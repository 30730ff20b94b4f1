"""What every bench module shares: figures, and the two daemons side by side."""
