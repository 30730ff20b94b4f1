"""The engine: its loop, its reconciler, and the calls other threads make.

The interface for other threads:

- `engine`: the engine as any thread sees it
- `mailbox`: calls of other threads
- `reporter`: reports to its listeners

The loop, and what it examines:

- `loop`, `sweep`, `feed`: the loop, the rescan, the events of the kernel
- `examiner`, `fact_reader`, `match_cache`, `required_files`: when a process is examined, and the facts read of it
- `event_limits`, `rate_limit`, `user_rate_limit`, `cost_limit`, `cpu_share`: limits of that work
- `scheduling`: the priority of its thread
- `performer`: carries out what was decided
- `attribution`: the rule of a process that was killed

Decisions, without I/O:

- `reconciler`: decides for each process, and settles results; start here
- `decider`, `enforcement`, `restorer`: the plan, the changes of a rule, the return of what was there before
- `heritage`, `descent`, `forks`: what a process has from another one
- `renaming`: a rule that has another name now
- `entry`, `rule_state`, `recent_rows`, `restored_moves`: what is known of processes, rules and rows
- `settlement`, `clearance`: what follows from results; files and groups that nothing needs
- `request`: overrides, restores and adoptions
"""
