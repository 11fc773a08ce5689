"""Files of flows on the local disk: one folder a company, within limits (spec flow8 section 17.5, provider `local`)."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from libs.common import ids
from libs.common.errors import Invalid, NotFound, TooLarge
from services.executor import confined
from services.executor.confined import Found, parts_of

LISTED_MAX = 10_000
TEMP_FOLDER = "tmp"
TEMP_PREFIX = "play-"
# Beside the companies: not listed, not counted, on the same disk, so that a finished file is put in place in one step.
DRAFTS = ".drafts"
DRAFT_AGE_S_MAX = 24 * 3600
# So many files may be written before a company's folder is measured again.
WRITES_PER_MEASURE = 1_000

_COMPANY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TempFolder(NamedTuple):
    """A folder that a play was given."""

    company_id: str
    play_id: str


class _Room(NamedTuple):
    """What a company may still write, by this process's last measure."""

    bytes: int
    writes: int


class Draft:
    """A file on its way: written beside the others, put in place whole or not at all."""

    def __init__(self, descriptor: int, bytes_max: int) -> None:
        self.bytes = 0
        self._file = os.fdopen(descriptor, "wb")
        self._bytes_max = bytes_max

    async def write(self, chunk: bytes) -> None:
        """Add to the file. Raises TooLarge at the limit, before more is kept."""
        self.bytes += len(chunk)
        if self.bytes > self._bytes_max:
            raise TooLarge(f"a file has at most {self._bytes_max:,} bytes here")
        await asyncio.to_thread(self._file.write, chunk)

    def finish(self) -> None:
        """Make the content durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Storage:
    """What `Services.storage` is. Every path is one of a company's own; errors name it as it was given.

    Raises Invalid for a path that cannot be one, NotFound (FILE_NOT_FOUND), Refused, and TooLarge beyond a limit.
    """

    def __init__(self, root: Path, *, file_bytes_max: int, company_bytes_max: int) -> None:
        """Keep files below `root`; nothing is touched before something is written."""
        self._root = root
        self.file_bytes_max = file_bytes_max
        self._company_bytes_max = company_bytes_max
        self._room: dict[str, _Room] = {}

    async def read(self, company_id: str, path: str, *, bytes_max: int) -> bytes:
        """Return a file's content."""
        root, parts = self._of(company_id), _named(path)
        return await asyncio.to_thread(confined.read, root, parts, bytes_max=bytes_max)

    @asynccontextmanager
    async def draft(self, company_id: str, path: str) -> AsyncIterator[Draft]:
        """Write a file piece by piece; it takes its place when the block ends well, and leaves nothing otherwise."""
        root, parts = self._of(company_id), _named(path)
        room = await self._room_of(company_id)
        drafts, name = self._root / DRAFTS, ids.commit_id()
        descriptor = await asyncio.to_thread(confined.open_new, drafts, name)
        draft = Draft(descriptor, min(self.file_bytes_max, room))
        try:
            yield draft
            await asyncio.to_thread(draft.finish)
            await asyncio.to_thread(confined.place, drafts, name, root, parts)
        except BaseException:
            draft.close()
            await asyncio.shield(asyncio.to_thread((drafts / name).unlink, missing_ok=True))
            raise
        self._take(company_id, draft.bytes)

    async def write(self, company_id: str, path: str, content: bytes) -> int:
        """Write a file in one step, over whatever was there; return its size in bytes."""
        async with self.draft(company_id, path) as draft:
            await draft.write(content)
        return draft.bytes

    async def move(self, company_id: str, old: str, new: str) -> None:
        """Move a file or folder. One that is not there, while its target is, has been moved before."""
        root, source, target = self._of(company_id), _named(old), _named(new)
        try:
            await asyncio.to_thread(confined.move, root, source, target)
        except NotFound:
            if source == target or await self.size(company_id, new) is None:
                raise

    async def delete(self, company_id: str, path: str, *, recursive: bool) -> bool:
        """Delete a file or folder; tell whether there was one."""
        root, parts = self._of(company_id), _named(path)
        deleted = await asyncio.to_thread(confined.remove, root, parts, recursive=recursive)
        self._room.pop(company_id, None)
        return deleted

    async def size(self, company_id: str, path: str) -> int | None:
        """Return a file's size in bytes, 0 for a folder, None when there is neither."""
        return await asyncio.to_thread(confined.size_of, self._of(company_id), parts_of(path))

    async def find(self, company_id: str, path: str, pattern: "re.Pattern[str]") -> list[Found]:
        """Return the files of a folder whose path from there fits the pattern as a whole, sorted."""

        def wanted(name: str) -> bool:
            return pattern.fullmatch(name) is not None

        root, parts = self._of(company_id), parts_of(path)
        return await asyncio.to_thread(confined.files, root, parts, wanted=wanted, found_max=LISTED_MAX)

    # ── folders of plays ────────────────────────────────────────────────────────────────────────────

    async def temp_folder(self, company_id: str, play_id: str) -> str:
        """Make the folder of a play and return its path."""
        parts = _temp(play_id)
        await asyncio.to_thread(confined.make_folder, self._of(company_id), parts)
        return "/".join(parts) + "/"

    async def remove_temp_folder(self, company_id: str, play_id: str) -> bool:
        """Delete the folder of a play with everything in it; tell whether there was one."""
        remove = confined.remove
        deleted = await asyncio.to_thread(remove, self._of(company_id), _temp(play_id), recursive=True)
        self._room.pop(company_id, None)
        return deleted

    async def temp_folders(self) -> list[TempFolder]:
        """Return the folders of plays that there are, of all companies."""
        return await asyncio.to_thread(self._temp_folders)

    async def drop_old_drafts(self, *, now_s: float) -> int:
        """Delete what writers left behind that died a day ago or longer; return how many. `now_s` is unix time."""
        return await asyncio.to_thread(self._drop_old_drafts, now_s - DRAFT_AGE_S_MAX)

    def _temp_folders(self) -> list[TempFolder]:
        return [
            TempFolder(company, name.removeprefix(TEMP_PREFIX))
            for company in confined.folders(self._root, ())
            if _COMPANY.fullmatch(company)
            for name in confined.folders(self._root / company, (TEMP_FOLDER,))
            if name.startswith(TEMP_PREFIX)
        ]

    def _drop_old_drafts(self, before_s: float) -> int:
        folder = self._root / DRAFTS
        if not folder.is_dir():
            return 0
        old = [path for path in folder.iterdir() if path.lstat().st_mtime < before_s]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    # ── whose, and how much ─────────────────────────────────────────────────────────────────────────

    def _of(self, company_id: str) -> Path:
        if _COMPANY.fullmatch(company_id) is None:
            raise Invalid("companyId is not an id")
        return self._root / company_id

    async def _room_of(self, company_id: str) -> int:
        """Return how many bytes the company may still write; 0 configured is no limit."""
        if not self._company_bytes_max:
            return self.file_bytes_max
        known = self._room.get(company_id)
        if known is None or known.writes >= WRITES_PER_MEASURE or known.bytes < self.file_bytes_max:
            # Near the limit every write measures: others may have written, or deleted.
            used = await asyncio.to_thread(self._used, self._of(company_id))
            known = self._room[company_id] = _Room(self._company_bytes_max - used, 0)
        if known.bytes <= 0:
            raise TooLarge(f"the files of a company have at most {self._company_bytes_max:,} bytes together")
        return known.bytes

    def _take(self, company_id: str, written: int) -> None:
        known = self._room.get(company_id)
        if known is not None:
            self._room[company_id] = _Room(known.bytes - written, known.writes + 1)

    @staticmethod
    def _used(root: Path) -> int:
        found = confined.files(root, (), wanted=lambda _: True, found_max=confined.VISITED_MAX)
        return sum(file.bytes for file in found)


def _named(path: str) -> tuple[str, ...]:
    parts = parts_of(path)
    if not parts:
        raise Invalid("path: it names no file")
    return parts


def _temp(play_id: str) -> tuple[str, str]:
    if _COMPANY.fullmatch(play_id) is None:
        raise Invalid("playId is not an id")
    return TEMP_FOLDER, TEMP_PREFIX + play_id
