"""Files: read, write, move, delete, look for them, and a folder for the time of a play (spec flow8 section 17.5)."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable
from mimetypes import MimeTypes
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from libs.common.errors import Invalid, NotFound, Refused, TooLarge
from libs.expressions import compile_pattern
from services.executor.modules.contract import EffectModule, Module, ModuleFailed, Services, Step

READ_BYTES_MAX = 16 * 1024 * 1024
PATTERN_CHARS_MAX = 512
BINARY = "application/octet-stream"

T = TypeVar("T")
Path = Annotated[
    str, Meta(min_length=1, description="Where the file is in the company's storage: `invoices/2026/42.pdf`.")
]

# Without the tables of the machine, so that every executor answers the same.
_TYPES = MimeTypes(filenames=())
_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|.", re.DOTALL)
_GLOBS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class StorageReadArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-read`."""

    path: Path
    encoding: Annotated[
        Literal["auto", "utf8", "base64"],
        Meta(description="`auto` gives text when the file is UTF-8, else base64."),
    ] = "auto"


class StorageRead(EffectModule[StorageReadArgs]):
    """A file's content."""

    app_id = "storage-read"
    docs = (
        f"Reads a file of at most {READ_BYTES_MAX // 2**20} MiB; what a step's output may hold is a limit, too. "
        "A file that is not there fails the step."
    )
    Args = StorageReadArgs
    shown_args = frozenset({"path"})
    required_components = frozenset({"storage"})
    args_example = {"path": "reports/today.csv"}
    out_example = {
        "content": "id,total\n42,250\n",
        "encoding": "utf8",
        "size": 16,
        "mimeType": "text/csv",
    }

    async def run(self, args: StorageReadArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return content, its encoding, size in bytes and type."""
        read = services.storage.read(step.company_id, args.path, bytes_max=READ_BYTES_MAX)
        content = await _or_fail(self.app_id, read)
        text = None if args.encoding == "base64" else _text(content)
        if text is None and args.encoding == "utf8":
            raise ModuleFailed(f"{self.app_id}: {args.path} is not UTF-8; read it as base64", final=True)
        return {
            "content": b64encode(content).decode() if text is None else text,
            "encoding": "base64" if text is None else "utf8",
            "size": len(content),
            "mimeType": mime_type_of(args.path),
        }


class StorageWriteArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-write`."""

    path: Path
    content: Annotated[Any, Meta(description="Text; a list or an object is written as JSON.")]
    encoding: Annotated[
        Literal["utf8", "base64"], Meta(description="How `content` stands for the bytes.")
    ] = "utf8"


class StorageWrite(EffectModule[StorageWriteArgs]):
    """Content to a file."""

    app_id = "storage-write"
    docs = (
        "Writes a file, over whatever file was there; readers see the old one or the new one, never a part. "
        "Folders are made as needed."
    )
    Args = StorageWriteArgs
    # What is in a file stands in the output of whoever reads it.
    shown_args = frozenset({"path", "content"})
    required_components = frozenset({"storage"})
    args_example = {"path": "reports/today.csv", "content": "id,total\n42,250\n"}
    out_example = {"path": "reports/today.csv", "size": 16}

    async def run(self, args: StorageWriteArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return path and size in bytes."""
        content = _bytes(args)
        written = services.storage.write(step.company_id, args.path, content)
        return {"path": args.path, "size": await _or_fail(self.app_id, written)}


class StorageMoveArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-move`."""

    old: Annotated[str, Meta(min_length=1, description="The file or folder to move.")] = field(name="from")
    new: Annotated[str, Meta(min_length=1, description="Where it goes, its own name included.")] = field(
        name="to"
    )


class StorageMove(EffectModule[StorageMoveArgs]):
    """A file elsewhere, or under another name."""

    app_id = "storage-move"
    docs = (
        "Moves or renames a file or folder, over whatever file is there. When there is nothing at `from` and something "
        "at `to`, it counts as moved: a step may run again after a crash."
    )
    Args = StorageMoveArgs
    shown_args = frozenset({"from", "to"})
    required_components = frozenset({"storage"})
    args_example = {"from": "reports/today.csv", "to": "reports/2026-11-22.csv"}
    out_example = {"from": "reports/today.csv", "to": "reports/2026-11-22.csv"}

    async def run(self, args: StorageMoveArgs, step: Step, services: Services) -> dict[str, str]:
        """Return both paths."""
        await _or_fail(self.app_id, services.storage.move(step.company_id, args.old, args.new))
        return {"from": args.old, "to": args.new}


class StorageDeleteArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-delete`."""

    path: Path
    recursive: Annotated[bool, Meta(description="Delete a folder with everything in it.")] = False


class StorageDelete(EffectModule[StorageDeleteArgs]):
    """A file less."""

    app_id = "storage-delete"
    docs = (
        "Deletes a file, or a folder: an empty one, any with `recursive`. What is not there is no failure: "
        "`deleted` is false."
    )
    Args = StorageDeleteArgs
    shown_args = frozenset({"path"})
    required_components = frozenset({"storage"})
    args_example = {"path": "reports/today.csv"}
    out_example = {"path": "reports/today.csv", "deleted": True}

    async def run(self, args: StorageDeleteArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the path, and whether there was something."""
        delete = services.storage.delete(step.company_id, args.path, recursive=args.recursive)
        return {"path": args.path, "deleted": await _or_fail(self.app_id, delete)}


class StorageExistsArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-exists`."""

    path: Path


class StorageExists(EffectModule[StorageExistsArgs]):
    """Whether there is a file."""

    app_id = "storage-exists"
    docs = "Tells whether there is a file or folder."
    Args = StorageExistsArgs
    required_components = frozenset({"storage"})
    args_example = {"path": "reports/today.csv"}
    out_example = {"exists": True}

    async def run(self, args: StorageExistsArgs, step: Step, services: Services) -> dict[str, bool]:
        """Return whether it exists."""
        size = await _or_fail(self.app_id, services.storage.size(step.company_id, args.path))
        return {"exists": size is not None}


class StorageListArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-list`."""

    path: Annotated[str, Meta(description="The folder; empty: all of the company's storage.")] = ""
    pattern: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=PATTERN_CHARS_MAX,
            description="`*` and `?` stand for anything but a `/`, `**/` for folders at any depth.",
        ),
    ] = "*"


class StorageList(EffectModule[StorageListArgs]):
    """Which files there are."""

    app_id = "storage-list"
    docs = (
        "Lists the files of a folder, sorted by path, at most 10,000: those directly in it unless `pattern` looks "
        "deeper (`**/*.csv`). A folder that is not there has no files. The paths are whole ones, as `storage-read` "
        "takes them."
    )
    Args = StorageListArgs
    shown_args = frozenset({"path"})
    required_components = frozenset({"storage"})
    args_example = {"path": "reports", "pattern": "*.csv"}
    out_example = {"files": [{"path": "reports/today.csv", "size": 16}], "count": 1}

    async def run(self, args: StorageListArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the files and how many they are."""
        listed = services.storage.find(step.company_id, args.path, glob_of(args.pattern))
        found = await _or_fail(self.app_id, listed)
        prefix = "".join(f"{part}/" for part in args.path.split("/") if part not in ("", "."))
        files = [{"path": prefix + file.path, "size": file.bytes} for file in found]
        return {"files": files, "count": len(files)}


class StorageTempdirArgs(Struct, frozen=True, kw_only=True):
    """Args of `storage-tempdir`: none."""


class StorageTempdir(EffectModule[StorageTempdirArgs]):
    """A folder for the time of a play."""

    app_id = "storage-tempdir"
    docs = "Makes a folder of the play's own, the same whenever the play asks. It is deleted when the play has ended."
    Args = StorageTempdirArgs
    required_components = frozenset({"storage"})
    args_example = {}
    out_example = {"path": "tmp/play-674000000000000000000001/"}

    async def run(self, args: StorageTempdirArgs, step: Step, services: Services) -> dict[str, str]:
        """Return the folder's path."""
        made = services.storage.temp_folder(step.company_id, step.play_id)
        return {"path": await _or_fail(self.app_id, made)}

    async def after_play(self, company_id: str, play_id: str, services: Services) -> None:
        """Delete the folder."""
        await services.storage.remove_temp_folder(company_id, play_id)


def mime_type_of(path: str) -> str:
    """Return the type that a file's name stands for."""
    kind, packed = _TYPES.guess_type(path)
    return BINARY if kind is None or packed else kind


def glob_of(pattern: str) -> Any:
    """Return a glob as a compiled pattern, to be matched as a whole, in linear time."""
    parts = (_GLOBS.get(part) or re.escape(part) for part in _GLOB.findall(pattern))
    return compile_pattern("(?s)" + "".join(parts))


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _bytes(args: StorageWriteArgs) -> bytes:
    if not isinstance(args.content, str):
        return msgspec.json.encode(args.content)
    if args.encoding == "utf8":
        return args.content.encode()
    try:
        return b64decode(args.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ModuleFailed("storage-write: content is not base64", final=True) from error


async def _or_fail(app_id: str, asked: Awaitable[T]) -> T:
    try:
        return await asked
    except (Invalid, NotFound, Refused, TooLarge) as error:
        raise ModuleFailed(f"{app_id}: {error.message}", code=error.code, final=True) from error
    except OSError as error:
        raise ModuleFailed(f"{app_id}: {error.strerror or type(error).__name__}") from error


MODULES: tuple[type[Module[Any]], ...] = (
    StorageRead,
    StorageWrite,
    StorageMove,
    StorageDelete,
    StorageExists,
    StorageList,
    StorageTempdir,
)
