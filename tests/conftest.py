"""Plugs in the fixtures, the order of the folders, and the options: containers, and how far schemathesis walks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# A law holds or not; how fast the machine shows it is no part of it. The same examples each time: what fails in a
# change is of that change. `--hypothesis-profile=search` draws others.
settings.register_profile(
    "laws", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("laws"), derandomize=False)
settings.load_profile("laws")

# What takes longest comes first: a file of a minute that one worker takes last leaves the others with nothing to do.
FIRST = ("faults", "e2e", "docs", "integration", "simulation", "model", "property")
HERE = Path(__file__).parent

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


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """Whoever sets up logging in a test, as a command does, sets it up for that test alone."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders in the order of FIRST; within a folder the order stays the drawn one."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(HERE).parts[0]
        return FIRST.index(folder) if folder in FIRST else len(FIRST)

    items.sort(key=place)
