"""Steps work with files (spec flow8 sections 17.3 and 17.5): a company has its own, a play its temporary ones."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.e2e.steps import step
from tests.fixtures.system import FILE_BYTES_MAX, RunningSystem
from tests.waiting import eventually


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        size = int(request.query.get("size", 3))
        kind = request.query.get("type", "application/octet-stream")
        return web.Response(
            status=int(request.query.get("status", 200)), body=b"x" * size, headers={"Content-Type": kind}
        )

    app = web.Application()
    app.router.add_get("/{name:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/"))


async def ran(api: Api, *steps: Json, args: Json = None) -> dict[str, Json]:
    """Run these steps as a flow that goes on after failures; return its layers by ref."""
    flow = await api.create_flow("Files", *({**one, "onError": "continue"} for one in steps))
    ended = await api.run(flow["id"], args, wait=60)
    assert ended["state"] == "DONE", ended
    return await api.layers_of(ended["playId"])


async def test_17_5_files_are_written_listed_moved_read_and_deleted(
    api: Api, shared_system: RunningSystem
) -> None:
    layers = await ran(
        api,
        step("storage-write", "write", path="in/a.csv", content="id\n1\n"),
        step("storage-exists", "exists", path="in/a.csv"),
        step("storage-list", "list", path="in", pattern="*.csv"),
        step("storage-move", "move", **{"from": "in/a.csv", "to": "done/a.csv"}),
        step("storage-read", "read", path="{{ $prev.move.to }}"),
        step("storage-delete", "delete", path="done/a.csv"),
        step("storage-exists", "gone", path="done/a.csv"),
    )
    outs = {ref: layer["out"] for ref, layer in layers.items()}
    assert outs == {
        "write": {"path": "in/a.csv", "size": 5},
        "exists": {"exists": True},
        "list": {"files": [{"path": "in/a.csv", "size": 5}], "count": 1},
        "move": {"from": "in/a.csv", "to": "done/a.csv"},
        "read": {"content": "id\n1\n", "encoding": "utf8", "size": 5, "mimeType": "text/csv"},
        "delete": {"path": "done/a.csv", "deleted": True},
        "gone": {"exists": False},
    }
    company = (await api.get("/api/auth/me"))["companyId"]
    assert (shared_system.home / "storage" / company / "done").is_dir()


async def test_17_5_a_missing_file_and_a_path_outside_fail_the_step(api: Api) -> None:
    layers = await ran(
        api,
        step("storage-read", "missing", path="no/such/file"),
        step("storage-read", "outside", path="../../secrets.json"),
        step("storage-write", "large", path="a", content="{{ $prev.args.large }}"),
        args={"large": "x" * (FILE_BYTES_MAX + 1)},
    )
    assert {ref: (layer["state"], layer["errorCode"]) for ref, layer in layers.items()} == {
        "missing": ("FAIL", "FILE_NOT_FOUND"),
        "outside": ("FAIL", "VALIDATION_ERROR"),
        "large": ("FAIL", "PAYLOAD_TOO_LARGE"),
    }


async def test_17_5_companies_have_files_of_their_own(api: Api, shared_system: RunningSystem) -> None:
    await ran(api, step("storage-write", "write", path="ours.txt", content="ours"))
    async with neighbour(shared_system) as other:
        layers = await ran(
            other, step("storage-exists", "exists", path="ours.txt"), step("storage-list", "all")
        )
    assert layers["exists"]["out"] == {"exists": False}
    assert layers["all"]["out"]["count"] == 0


async def test_17_5_a_folder_of_the_play_is_gone_when_the_play_has_ended(
    api: Api, shared_system: RunningSystem
) -> None:
    flow = await api.create_flow(
        "Temporary",
        step("storage-tempdir", "dir"),
        step("storage-write", "write", path="{{ $prev.dir.path }}a/b.txt", content="x"),
        {**step("storage-list", "list", path="{{ $prev.dir.path }}", pattern="**"), "needsApproval": True},
    )
    parked = await api.run(flow["id"], wait=60)
    company = (await api.get("/api/auth/me"))["companyId"]
    folder = shared_system.home / "storage" / company / "tmp" / f"play-{parked['playId']}"
    assert (folder / "a" / "b.txt").read_text() == "x"
    await api.post(f"/api/plays/{parked['playId']}/approve", {"layerId": "list", "decision": "approved"})
    ended = await api.wait_for(parked["playId"])
    assert ended["out"]["files"] == [{"path": f"tmp/{folder.name}/a/b.txt", "size": 1}]

    async def gone() -> bool:
        return not folder.exists()

    await eventually(gone)


async def test_17_5_what_a_crash_left_is_swept_at_the_next_start(
    api: Api, shared_system: RunningSystem
) -> None:
    flow = await api.create_flow("Ends", step("var", "a", values={}))
    waits = await api.create_flow("Waits", {**step("var", "a", values={}), "needsApproval": True})
    ended = (await api.run(flow["id"], wait=60))["playId"]
    open_play = (await api.run(waits["id"], wait=60))["playId"]
    company = (await api.get("/api/auth/me"))["companyId"]
    temporary = shared_system.home / "storage" / company / "tmp"
    left, kept, unknown = (temporary / f"play-{play}" for play in (ended, open_play, "0" * 24))
    for folder in (left, kept, unknown):
        (folder / "deep").mkdir(parents=True)
    old = shared_system.kill("executor-0")
    shared_system.wait_restarted("executor-0", old)

    async def swept() -> bool:
        return not left.exists() and not unknown.exists()

    await eventually(swept)
    assert kept.exists()


async def test_17_3_wget_saves_what_it_downloads(api: Api, origin: str) -> None:
    layers = await ran(
        api,
        step("wget", "named", url=f"{origin}files/report.pdf", path="down/r.pdf"),
        step("wget", "folder", url=f"{origin}files/my%20page.html?type=text/plain", path="down/"),
        step("wget", "root", url=f"{origin}files/"),
        step("storage-list", "list", path="down"),
    )
    assert {ref: layer["out"] for ref, layer in layers.items()} == {
        "named": {"path": "down/r.pdf", "size": 3, "mimeType": "application/pdf"},
        "folder": {"path": "down/my page.html", "size": 3, "mimeType": "text/plain"},
        "root": {"path": "download", "size": 3, "mimeType": "application/octet-stream"},
        "list": {
            "files": [{"path": "down/my page.html", "size": 3}, {"path": "down/r.pdf", "size": 3}],
            "count": 2,
        },
    }


@pytest.mark.parametrize(
    ("path", "target", "error"),
    [
        ("a?status=404", "x/404", "answered with status 404"),
        (f"a?size={FILE_BYTES_MAX + 1}", "x/large", "has more than 100,000 bytes"),
        ("..%2f..%2fsecret", "x/", ""),
        ("a", "../outside", ".. is not allowed"),
    ],
)
async def test_17_3_wget_keeps_nothing_of_a_download_that_fails(
    api: Api, origin: str, path: str, target: str, error: str
) -> None:
    layers = await ran(
        api, step("wget", "get", url=origin + path, path=target), step("storage-list", "list", path="x")
    )
    got = layers["get"]
    if error:
        assert got["state"] == "FAIL"
        assert error in got["error"]
    else:
        assert got["out"]["path"] == "x/.._.._secret"
    assert [file["path"] for file in layers["list"]["out"]["files"]] == ([] if error else ["x/.._.._secret"])
    await ran(api, step("storage-delete", "clean", path="x", recursive=True))


async def test_17_3_wget_reaches_only_what_curl_may_reach(api: Api) -> None:
    layers = await ran(api, step("wget", "get", url="http://10.0.0.1/", path="x"))
    assert "are not allowed" in layers["get"]["error"]
