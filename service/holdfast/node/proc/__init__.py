"""Reading the kernel: processes, process events, the machine, pressure, and what this process may do."""
