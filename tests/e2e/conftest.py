"""What most journeys begin with, on the system that all of them share."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.api import Api
from tests.e2e.origin import Origin
from tests.e2e.shell import Shell
from tests.fixtures.system import RunningSystem


@pytest.fixture
async def api(shared_system: RunningSystem) -> AsyncIterator[Api]:
    """The admin of the module's company."""
    async with Api.logged_in(shared_system) as api:
        yield api


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server that steps call."""
    async with Origin.serving() as origin:
        yield origin


@pytest.fixture(scope="module")
def headrace(shared_system: RunningSystem, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The command line of the admin of the module's company, logged in."""
    shell = Shell(shared_system, tmp_path_factory.mktemp("config"))
    known = {"HEADRACE_PASSWORD": shared_system.password}
    assert shell("login", "--email", shared_system.email, environ=known).code == 0
    return shell
