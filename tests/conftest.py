"""Plugs in the fixtures, and the option that chooses containers for the servers."""

import pytest

pytest_plugins = [
    "tests.fixtures.curl",
    "tests.fixtures.nats",
    "tests.fixtures.postgres",
    "tests.fixtures.system",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--containers`: NATS and PostgreSQL from the images of deploy/compose.yaml, not from the venv."""
    parser.addoption("--containers", action="store_true", help="run NATS and PostgreSQL in containers")
