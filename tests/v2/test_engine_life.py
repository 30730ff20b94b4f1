"""Processes whose memory cannot be read, where there is cgroup v2 alone."""

from tests.hostile.test_engine_life import *  # noqa: F403

# An engine that fails or hangs asks nothing of the kernel: the host has these, and an emulated processor takes minutes.
del test_an_engine_that_fails_in_every_turn_ends_the_daemon_with_one_line  # noqa: F821
del test_an_engine_that_hangs_is_said_everywhere_until_it_goes_on  # noqa: F821
del test_an_engine_that_hangs_for_good_ends_the_daemon_with_one_line  # noqa: F821
del test_sigterm_ends_a_daemon_whose_engine_hangs  # noqa: F821
