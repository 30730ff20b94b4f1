"""The placement plugin: the engine with the daemon's configuration, events, metrics and API.

The rules are in `holdfast.node.rule.ruleset`, the decisions they lead to in `holdfast.node.plan.plan`, the engine in
`holdfast.node.engine.engine`, and its loop in `holdfast.node.engine.loop`.

- `plugin`: the registration: starts the engine, connects it with the other plugins, and watches its thread
- `active_rules`, `bundled`: the rules in force, and those of a bundle
- `service`, `message`, `shared_run`: the API, its messages, one scan for several callers
- `error_reason`: the reasons of its errors
- `report_log`, `watching`: the latest reports, and their streams for watchers
- `selection`, `list_maker`: filters, pages and masks of its lists, and these made in slices
- `refused_annotations`: annotations that were refused
- `recorder`, `api_server`: Kubernetes Events, and the server that they are written to
- `kill_events`, `kill_series`, `kill_text`: the Events for OOM kills
"""
