"""Values the node work passes around. No I/O.

- `process`: a process, and the machine
- `decision`: what follows for a process
- `placement`: a process under a rule, and a report of a change
- `memory_domain`: where an OOM can happen, and a kill
- `evidence`: facts and claims
- `privileges`: what this process may not do
"""
