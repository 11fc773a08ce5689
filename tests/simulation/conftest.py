"""The simulated executors log into nothing, unless one seed is looked at."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Keep thousands of expected warnings out of the tests' output."""
    before = structlog.get_config()
    if "SEED" not in os.environ:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
