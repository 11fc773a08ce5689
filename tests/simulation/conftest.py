"""The simulated executors log into nothing, unless one seed is looked at."""

import logging
import os

import pytest
import structlog


@pytest.fixture
def quiet_log() -> None:
    """Keep thousands of expected warnings out of the tests' output."""
    if "SEED" not in os.environ:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
