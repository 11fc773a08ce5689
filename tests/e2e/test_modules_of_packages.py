"""A package brings modules of its own: the one in docs/examples, built, installed beside a system, and run."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.api import Api
from tests.fixtures.system import ROOT, RunningSystem, running_system
from tests.waiting import eventually

EXAMPLE = ROOT / "docs/examples/headrace-greetings"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
# A module that does not let itself be stopped.
STUBBORN = '''
import asyncio
import msgspec
from services.executor.modules.contract import EffectModule

class StubbornArgs(msgspec.Struct, frozen=True, kw_only=True):
    """None."""

class Stubborn(EffectModule[StubbornArgs]):
    """Goes on whatever happens."""

    app_id = "stubborn"
    docs = "Goes on whatever happens."
    Args = StubbornArgs
    args_example = {}
    out_example = {}

    async def run(self, args, step, services):
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                pass
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example's wheel as an installer would, and unpack it into a folder."""
    source, wheels = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("wheels")
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)
    subprocess.run([sys.executable, "-c", BUILD, str(wheels)], cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "stubborn.py").write_text(STUBBORN)
    told = site / "stubborn-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: stubborn\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[headrace.modules]\nstubborn = stubborn:Stubborn\n")
    return site


@pytest.fixture(scope="module")
def system_with_package(site: Path) -> Iterator[RunningSystem]:
    environ = {"PYTHONPATH": str(site), "HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"}
    with running_system(environ=environ) as running:
        yield running


async def test_17_9_modules_are_listed_with_args_and_examples(system_with_package: RunningSystem) -> None:
    async with Api.logged_in(system_with_package) as api:
        listed = await api.get("/api/modules?size=100")
        greet = await api.get("/api/modules/greet")
        missing = await api.refused("GET", "/api/modules/no-such-module")
    modules = {module["appId"]: module for module in listed["data"]}
    assert list(modules) == sorted(modules)
    assert listed["total"] == len(modules)
    assert {"greet", "greet-post", "var", "curl"} <= modules.keys()
    assert modules["greet"] == greet
    assert (greet["docs"], greet["pure"]) == ("Greets somebody by name.", True)
    assert greet["argsSchema"]["required"] == ["name"]
    assert modules["wget"]["requiredComponents"] == ["request", "storage"]
    assert (modules["var"]["requiredComponents"], modules["var"]["shownArgs"]) == ([], ["values"])
    assert greet["outExample"] == {"text": "Guten Tag Ada"}
    assert missing == (404, "MODULE_NOT_FOUND")


async def test_a_flow_runs_its_modules(system_with_package: RunningSystem) -> None:
    keys: list[str] = []

    async def wall(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        return web.json_response(await request.json(), status=500 if len(keys) == 1 else 201)

    app = web.Application()
    app.router.add_post("/", wall)
    async with TestServer(app, host="127.0.0.1") as server, Api.logged_in(system_with_package) as api:
        post = {"url": str(server.make_url("/")), "text": "{{ $prev.greet.text }}"}
        flow = await api.create_flow(
            "Greetings",
            {"ref": "greet", "appId": "greet", "args": {"name": "{{ $prev.args.name }}", "language": "fr"}},
            {"ref": "post", "appId": "greet-post", "args": post, "retry": {"count": 1}},
        )
        ended = await api.run(flow["id"], {"name": "Ada"}, wait=60)
        nobody = await api.run(flow["id"], {"name": " "}, wait=60)
        greeted, skipped = [await api.layers_of(play["playId"]) for play in (ended, nobody)]
    assert (ended["state"], ended["out"]) == ("DONE", {"statusCode": 201})
    assert greeted["greet"]["out"] == {"text": "Bonjour Ada"}
    assert keys[:2] == [f"{ended['playId']}:post"] * 2
    assert skipped["greet"]["state"] == "SKIP"


async def test_10_a_module_that_does_not_stop_when_its_time_is_over_is_left_behind(
    system_with_package: RunningSystem,
) -> None:
    async with Api.logged_in(system_with_package) as api:
        step = {"ref": "a", "appId": "stubborn", "timeout": 1, "retry": {"count": 1}}
        flow = await api.create_flow("Out of time", step)
        ended = await api.run(flow["id"], wait=60)
        layers = await api.layers_of(ended["playId"])
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "TIMEOUT")
    assert layers["a"]["attempts"] == 2


async def test_8_a_module_that_does_not_stop_when_its_play_is_cancelled_is_left_behind(
    system_with_package: RunningSystem,
) -> None:
    async with Api.logged_in(system_with_package) as api:
        flow = await api.create_flow("Cancelled", {"ref": "a", "appId": "stubborn"})
        play = (await api.run(flow["id"]))["playId"]

        async def runs() -> bool:
            return "a" in await api.layers_of(play)

        await eventually(runs)
        await api.delete(f"/api/plays/{play}")
        ended = await api.wait_for(play, "FAIL", within_s=60)
    assert ended["errorCode"] == "CANCELLED"
