"""A daemon inside the tests of a plugin's author. Nothing else imports this package.

- `daemon`: `running`, for tests that are async
- `fixtures`: the pytest fixture `run_daemon`, for tests that are not
"""

from holdfast.testing.daemon import RunDaemon, RunningDaemon, running

__all__ = ["RunDaemon", "RunningDaemon", "running"]
