"""Files of flows on a real disk: what is written can be read, and nothing leads out of a company's folder."""

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.errors import TooLarge
from services.executor.modules.contract import EffectModule, ModuleFailed, Services
from services.executor.modules.http_client import http_session
from services.executor.modules.storage import glob_of
from services.executor.storage import Storage
from tests.fixtures.modules import MODULES, a_step, decoded, some_services

FILE_BYTES_MAX = 1_000
COMPANY = "company-1"


class Shelf:
    """The storage modules as steps of one company use them; `root` holds the folders of all."""

    def __init__(self, services: Services, root: Path) -> None:
        self.services, self.root = services, root

    async def __call__(self, app_id: str, *, company: str = COMPANY, **args: Any) -> Any:
        module = MODULES.get(f"storage-{app_id}")
        assert isinstance(module, EffectModule)
        given = {"from" if name == "old" else name: value for name, value in args.items()}
        step = a_step(company_id=company)
        return await module.run(decoded(module.app_id, given), step, self.services)

    async def failing(self, app_id: str, **args: Any) -> ModuleFailed:
        with pytest.raises(ModuleFailed) as raised:
            await self(app_id, **args)
        assert raised.value.final
        return raised.value

    def files(self) -> list[str]:
        """Return every file below the root, whoever's it is."""
        return sorted(
            path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()
        )


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    root = tmp_path / "storage"
    async with http_session() as session:
        yield Shelf(some_services(session, root, file_bytes_max=FILE_BYTES_MAX), root)


async def test_what_is_written_can_be_read(shelf: Shelf) -> None:
    written = await shelf("write", path="a/b/list.csv", content="id,name\n1,Zoë\n")
    read = await shelf("read", path="/a/./b//list.csv")
    assert written == {"path": "a/b/list.csv", "size": 15}
    assert read == {"content": "id,name\n1,Zoë\n", "encoding": "utf8", "size": 15, "mimeType": "text/csv"}
    assert shelf.files() == [f"{COMPANY}/a/b/list.csv"]


async def test_bytes_go_and_come_as_base64(shelf: Shelf) -> None:
    content = b64encode(b"\xff\x00png").decode()
    await shelf("write", path="pixel.png", content=content, encoding="base64")
    assert (shelf.root / COMPANY / "pixel.png").read_bytes() == b"\xff\x00png"
    read = await shelf("read", path="pixel.png")
    assert (read["content"], read["encoding"], read["mimeType"]) == (content, "base64", "image/png")
    assert "is not UTF-8" in (await shelf.failing("read", path="pixel.png", encoding="utf8")).message
    assert "is not base64" in (await shelf.failing("write", path="x", content="#", encoding="base64")).message


async def test_a_value_that_is_no_text_is_written_as_json(shelf: Shelf) -> None:
    await shelf("write", path="order.json", content={"id": 7, "tags": ["a"]})
    assert (await shelf("read", path="order.json"))["content"] == '{"id":7,"tags":["a"]}'


async def test_a_file_that_is_not_there_fails_the_step(shelf: Shelf) -> None:
    failure = await shelf.failing("read", path="no/such.txt")
    assert (failure.code, failure.message) == ("FILE_NOT_FOUND", "storage-read: there is no no")
    await shelf("write", path="no/other.txt", content="x")
    assert (
        await shelf.failing("read", path="no/such.txt")
    ).message == "storage-read: there is no no/such.txt"


async def test_writing_replaces_whole_files_and_leaves_nothing_beside_them(shelf: Shelf) -> None:
    for content in ("long" * 100, "short"):
        await shelf("write", path="a.txt", content=content)
    assert (await shelf("read", path="a.txt"))["content"] == "short"
    assert shelf.files() == [f"{COMPANY}/a.txt"]


async def test_a_file_above_the_limit_is_refused_and_nothing_of_it_kept(shelf: Shelf) -> None:
    await shelf("write", path="a.txt", content="before")
    failure = await shelf.failing("write", path="a.txt", content="x" * (FILE_BYTES_MAX + 1))
    assert failure.code == "PAYLOAD_TOO_LARGE"
    assert (await shelf("read", path="a.txt"))["content"] == "before"
    assert shelf.files() == [f"{COMPANY}/a.txt"]


async def test_a_company_has_only_so_much_room(shelf: Shelf) -> None:
    for n in range(10):
        await shelf("write", path=f"{n}.txt", content="x" * FILE_BYTES_MAX)
    failure = await shelf.failing("write", path="more.txt", content="x")
    assert "the files of a company have at most 10,000 bytes together" in failure.message
    await shelf("write", path="mine.txt", content="x", company="company-2")
    await shelf("delete", path="0.txt")
    await shelf("write", path="more.txt", content="x")


async def test_moving_renames_and_may_be_repeated(shelf: Shelf) -> None:
    await shelf("write", path="a.txt", content="1")
    for _ in range(2):
        moved = await shelf("move", old="a.txt", to="deep/b.txt")
        assert moved == {"from": "a.txt", "to": "deep/b.txt"}
    assert shelf.files() == [f"{COMPANY}/deep/b.txt"]
    assert (await shelf.failing("move", old="never.txt", to="nowhere.txt")).code == "FILE_NOT_FOUND"
    assert (await shelf.failing("move", old="deep", to="deep/deeper")).code == "CONFLICT"


async def test_deleting_takes_files_and_folders(shelf: Shelf) -> None:
    for path in ("f/a.txt", "f/g/b.txt"):
        await shelf("write", path=path, content="x")
    assert await shelf("delete", path="f/a.txt") == {"path": "f/a.txt", "deleted": True}
    assert await shelf("delete", path="f/a.txt") == {"path": "f/a.txt", "deleted": False}
    assert (await shelf.failing("delete", path="f")).message == "storage-delete: f is not empty"
    assert (await shelf("delete", path="f", recursive=True))["deleted"]
    assert await shelf("exists", path="f") == {"exists": False}


async def test_existing_are_files_and_folders(shelf: Shelf) -> None:
    await shelf("write", path="f/a.txt", content="")
    told = [(await shelf("exists", path=path))["exists"] for path in ("f/a.txt", "f", "f/b.txt", "g/a.txt")]
    assert told == [True, True, False, False]


@pytest.mark.parametrize(
    ("path", "pattern", "files"),
    [
        ("", "*", ["a.csv"]),
        ("", "**/*.csv", ["a.csv", "f/b.csv", "f/g/c.csv"]),
        ("", "**", ["a.csv", "f/b.csv", "f/b.txt", "f/g/c.csv"]),
        ("/f/", "*.csv", ["f/b.csv"]),
        ("f", "?.t*", ["f/b.txt"]),
        ("f", "g/[c].csv", []),
        ("nowhere", "*", []),
    ],
)
async def test_a_folder_is_listed_by_pattern(shelf: Shelf, path: str, pattern: str, files: list[str]) -> None:
    for name in ("f/g/c.csv", "f/b.csv", "f/b.txt", "a.csv"):
        await shelf("write", path=name, content="xy")
    listed = await shelf("list", path=path, pattern=pattern)
    assert listed == {"files": [{"path": file, "size": 2} for file in files], "count": len(files)}


def test_a_pattern_of_many_stars_takes_linear_time() -> None:
    assert glob_of("*a" * 200 + "b").fullmatch("a" * 10_000) is None


# ── nothing leads out ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "..",
        "a/..",
        "x\0y",
        "a\nb",
        "x" * 256,
        "x/" * 40,
        "x" * 1_025,
        "\ud800",
        "/",
        ".",
    ],
)
async def test_a_path_that_could_lead_out_is_no_path(shelf: Shelf, path: str) -> None:
    for app_id, args in (
        ("read", {"path": path}),
        ("write", {"path": path, "content": "x"}),
        ("delete", {"path": path, "recursive": True}),
        ("move", {"old": path, "to": "x"}),
        ("move", {"old": "x", "to": path}),
    ):
        assert (await shelf.failing(app_id, **args)).code == "VALIDATION_ERROR"
    assert not shelf.root.exists()


async def test_a_link_is_never_followed(shelf: Shelf, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("not yours")
    await shelf("write", path="f/a.txt", content="mine")
    own = shelf.root / COMPANY
    (own / "folder").symlink_to(outside)
    (own / "file.txt").symlink_to(outside / "secret.txt")
    (own / "f" / "up").symlink_to("../..")
    for path in ("folder/secret.txt", "file.txt", "f/up/company-1/f/a.txt"):
        assert "is no folder" in (await shelf.failing("read", path=path)).message
    assert "is no folder" in (await shelf.failing("write", path="folder/new.txt", content="x")).message
    assert "is no folder" in (await shelf.failing("move", old="f/a.txt", to="folder/a.txt")).message
    assert (await shelf("list", pattern="**"))["files"] == [{"path": "f/a.txt", "size": 4}]
    # A link is deleted and replaced like a file, what it leads to is not touched.
    await shelf("write", path="file.txt", content="own")
    await shelf("delete", path="folder")
    await shelf("delete", path="f", recursive=True)
    assert (own / "file.txt").read_text() == "own"
    assert not (own / "file.txt").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


async def test_what_is_no_file_is_not_read(shelf: Shelf) -> None:
    await shelf("write", path="a.txt", content="x")
    own = shelf.root / COMPANY
    os.mkfifo(own / "pipe")
    assert "is no file" in (await shelf.failing("read", path="pipe")).message
    assert (await shelf.failing("write", path="a.txt/b.txt", content="x")).message.endswith(
        "a.txt is no folder"
    )


async def test_companies_do_not_see_each_other(shelf: Shelf) -> None:
    await shelf("write", path="a.txt", content="mine")
    assert (await shelf("list", company="company-2"))["count"] == 0
    with pytest.raises(ModuleFailed):
        await shelf("list", company="../company-1")


async def test_concurrent_writers_leave_one_whole_file(shelf: Shelf) -> None:
    contents = [str(n) * 500 for n in range(10)]
    await asyncio.gather(*(shelf("write", path="a/b.txt", content=content) for content in contents))
    assert (await shelf("read", path="a/b.txt"))["content"] in contents
    assert shelf.files() == [f"{COMPANY}/a/b.txt"]


# ── the time of a play, and of a draft ──────────────────────────────────────────────────────────────


async def test_a_play_has_one_folder_of_its_own(shelf: Shelf) -> None:
    made = await shelf("tempdir")
    again = await shelf("tempdir")
    assert made == again == {"path": "tmp/play-play-1/"}
    await shelf("write", path=made["path"] + "page/1.txt", content="x")
    assert [tuple(folder) for folder in await shelf.services.storage.temp_folders()] == [(COMPANY, "play-1")]
    module = MODULES.get("storage-tempdir")
    assert isinstance(module, EffectModule)
    for _ in range(2):
        await module.after_play(COMPANY, "play-1", shelf.services)
        assert shelf.files() == []


async def test_a_draft_that_is_given_up_leaves_nothing(shelf: Shelf) -> None:
    async def write_too_much() -> None:
        async with shelf.services.storage.draft(COMPANY, "big.bin") as draft:
            await draft.write(b"x" * FILE_BYTES_MAX)
            await draft.write(b"x")

    with pytest.raises(TooLarge):
        await write_too_much()
    assert shelf.files() == []


async def test_old_drafts_of_dead_writers_are_dropped(tmp_path: Path) -> None:
    storage = Storage(tmp_path, file_bytes_max=10, company_bytes_max=0)
    assert await storage.drop_old_drafts(now_s=0) == 0
    drafts = tmp_path / ".drafts"
    drafts.mkdir()
    for name, at in (("old", 1_000), ("new", 100_000)):
        (drafts / name).write_text("x")
        os.utime(drafts / name, (at, at))
    assert await storage.drop_old_drafts(now_s=100_001) == 1
    assert [path.name for path in drafts.iterdir()] == ["new"]
