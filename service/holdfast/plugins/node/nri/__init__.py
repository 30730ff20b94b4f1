"""The NRI plugin: it sets a rule's values before a container's first instruction. Off unless it is turned on.

A runtime's NRI plugin may change every container of the node, so it needs trust of its own. `adjustments` makes the
answers, `holdfast.node.plan.creation` chooses the rule, `holdfast.ttrpc.mux` is the wire.

- `plugin`: the registration: opens the link, also for a runtime that starts the plugin itself
- `config`: its settings
- `link`, `session`: the link to the runtime, and one connection
- `service`: the handlers of the runtime's calls
- `adjustments`: values of the rules for a container, in the form that its runtime can apply
- `feed`: reports to the directory of pods
- `message`: conversion of messages
- `metrics`: its metrics
"""
