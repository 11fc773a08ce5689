"""Plugs in the fixtures, and the options: containers for the servers, and how far schemathesis walks."""

import pytest

pytest_plugins = [
    "tests.fixtures.curl",
    "tests.fixtures.nats",
    "tests.fixtures.postgres",
    "tests.fixtures.system",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options.

    `--containers` takes NATS and PostgreSQL from the images of deploy/compose.yaml, not from the venv;
    `--walk-cases` makes the walk along the OpenAPI document a longer one.
    """
    parser.addoption("--containers", action="store_true", help="run NATS and PostgreSQL in containers")
    parser.addoption(
        "--walk-cases", type=int, default=1, help="how many cases schemathesis makes up per operation"
    )
