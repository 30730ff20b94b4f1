"""Values the node work passes around: a process, a decision, a placement, a memory domain. No I/O."""
