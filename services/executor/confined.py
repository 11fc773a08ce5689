"""Files below one folder and nowhere else: paths are walked folder by folder, and a link is never followed.

Every step of a path is opened relative to the one before, without following links (`openat` with `O_NOFOLLOW`), so
neither `..` nor a link that appears between a check and its use leads out. All of it blocks: call it in a thread.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from libs.common.errors import HeadraceError, Invalid, NotFound, Refused, TooLarge

PATH_CHARS_MAX = 1_024
NAME_BYTES_MAX = 255
DEPTH_MAX = 32
VISITED_MAX = 200_000  # files and folders of one walk

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe that somebody put there would wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


class Found(NamedTuple):
    """A file: where it is below the folder that was searched, and its size in bytes."""

    path: str
    bytes: int


def parts_of(path: str) -> tuple[str, ...]:
    """Return the names that a path consists of; `/` at its ends and `.` mean nothing.

    Raises Invalid for `..`, control characters, and what is too long or too deep.
    """
    if len(path) > PATH_CHARS_MAX:
        raise Invalid(f"path: at most {PATH_CHARS_MAX} characters")
    if _CONTROL.search(path):
        raise Invalid("path: control characters are not allowed")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Invalid("path: .. is not allowed")
    if len(parts) > DEPTH_MAX:
        raise Invalid(f"path: at most {DEPTH_MAX} folders deep")
    try:
        longest = max((len(part.encode()) for part in parts), default=0)
    except UnicodeEncodeError as error:
        raise Invalid("path: it cannot be encoded") from error
    if longest > NAME_BYTES_MAX:
        raise Invalid(f"path: a name has at most {NAME_BYTES_MAX} bytes")
    return parts


def read(root: Path, parts: tuple[str, ...], *, bytes_max: int) -> bytes:
    """Return a file's content. Raises NotFound, Invalid for what is no file, TooLarge."""
    with _below(root, parts[:-1]) as folder, _told(parts):
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode):
                raise Invalid(f"{_shown(parts)} is no file")
            content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise TooLarge(f"{_shown(parts)} has more than {bytes_max:,} bytes")
    return content


def open_new(root: Path, name: str) -> int:
    """Return the descriptor of a new file directly in `root`."""
    with _below(root, (), make=True) as folder:
        return os.open(name, _NEW, _FILE_MODE, dir_fd=folder)


def place(root: Path, name: str, target_root: Path, parts: tuple[str, ...]) -> None:
    """Put a file that `open_new` made where it belongs, in one step, over whatever file is there; durable."""
    with (
        _below(root, ()) as source,
        _below(target_root, parts[:-1], make=True) as target,
        _told(parts),
    ):
        os.replace(name, parts[-1], src_dir_fd=source, dst_dir_fd=target)
        os.fsync(target)


def move(root: Path, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """Move a file or folder, over whatever file is there. Raises NotFound, Refused."""
    with _below(root, old[:-1]) as source:
        _kind(source, old)
        with _below(root, new[:-1], make=True) as target, _told(new):
            os.replace(old[-1], new[-1], src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)


def size_of(root: Path, parts: tuple[str, ...]) -> int | None:
    """Return a file's size in bytes, 0 for a folder, None when there is neither."""
    try:
        with _below(root, parts[:-1]) as folder:
            known = _kind(folder, parts) if parts else os.fstat(folder)
    except NotFound:
        return None
    return known.st_size if stat.S_ISREG(known.st_mode) else 0


def make_folder(root: Path, parts: tuple[str, ...]) -> None:
    """Make a folder and those above it, where they are missing."""
    with _below(root, parts, make=True):
        pass


def remove(root: Path, parts: tuple[str, ...], *, recursive: bool) -> bool:
    """Delete a file, or a folder with everything in it. False when there was none. Raises Refused."""
    try:
        with _below(root, parts[:-1]) as folder:
            if stat.S_ISDIR(_kind(folder, parts).st_mode):
                _remove_folder(folder, parts, recursive=recursive)
            else:
                os.unlink(parts[-1], dir_fd=folder)
    except (NotFound, FileNotFoundError):
        return False
    return True


def _remove_folder(folder: int, parts: tuple[str, ...], *, recursive: bool) -> None:
    if recursive:
        inner = os.open(parts[-1], _FOLDER, dir_fd=folder)
        try:
            # fwalk opens each folder relative to the one above and follows no link.
            for _, folders, files, at in os.fwalk(".", topdown=False, dir_fd=inner, follow_symlinks=False):
                for name in files:
                    os.unlink(name, dir_fd=at)
                for name in folders:
                    _rmdir_or_unlink(name, at)
        finally:
            os.close(inner)
    try:
        os.rmdir(parts[-1], dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise Refused(f"{_shown(parts)} is not empty") from error


def _rmdir_or_unlink(name: str, at: int) -> None:
    # A link to a folder is listed among the folders.
    try:
        os.rmdir(name, dir_fd=at)
    except NotADirectoryError:
        os.unlink(name, dir_fd=at)


def files(
    root: Path, parts: tuple[str, ...], *, wanted: Callable[[str], bool], found_max: int
) -> list[Found]:
    """Return the files below a folder whose path from there is wanted, sorted; none when there is no such folder.

    Raises TooLarge beyond `found_max`, or when the folder holds too much to look through.
    """
    found: list[Found] = []
    visited = 0
    try:
        with _below(root, parts) as folder:
            for at, folders, names, descriptor in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
                visited += len(names) + len(folders)
                if visited > VISITED_MAX:
                    raise TooLarge(f"{_shown(parts)} holds more than {VISITED_MAX:,} files and folders")
                prefix = "" if at == "." else at.removeprefix("./") + "/"
                for name in names:
                    if not wanted(prefix + name):
                        continue
                    known = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode):
                        found.append(Found(prefix + name, known.st_size))
                if len(found) > found_max:
                    raise TooLarge(f"more than {found_max:,} files; a narrower pattern lists fewer")
    except NotFound:
        return []
    return sorted(found)


def folders(root: Path, parts: tuple[str, ...]) -> list[str]:
    """Return the names of the folders directly in a folder; none when there is no such folder."""
    try:
        with _below(root, parts) as folder, os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except NotFound:
        return []


@contextmanager
def _below(root: Path, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """Open the folder at these names below the root, and close it again."""
    if make:
        root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    # The root is the operator's: it may be a link.
    with _told(parts):
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for n, name in enumerate(parts):
            with _told(parts[: n + 1]):
                if make:
                    _make(name, folder)
                inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _make(name: str, folder: int) -> None:
    # As it should be; a file in its place shows when it is opened.
    with suppress(FileExistsError):
        os.mkdir(name, _FOLDER_MODE, dir_fd=folder)


def _kind(folder: int, parts: tuple[str, ...]) -> os.stat_result:
    with _told(parts):
        return os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)


@contextmanager
def _told(parts: tuple[str, ...]) -> Iterator[None]:
    """Turn what the system says of a path into a sentence that names only the path as it was given."""
    try:
        yield
    except OSError as error:
        raise _error_of(error, _shown(parts)) from error


def _error_of(error: OSError, shown: str) -> HeadraceError | OSError:
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"there is no {shown}", code="FILE_NOT_FOUND")
        case errno.ENOTDIR | errno.ELOOP:
            return Invalid(f"{shown} is no folder")
        case errno.EISDIR | errno.ENOTEMPTY | errno.EEXIST:
            return Refused(f"{shown} is a folder")
        case errno.EINVAL:
            return Refused(f"{shown} cannot be moved into itself")
        case errno.ENXIO:
            return Invalid(f"{shown} is no file")
        case errno.ENOSPC | errno.EDQUOT:
            return TooLarge("the disk of the storage is full")
        case _:
            return error


def _shown(parts: tuple[str, ...]) -> str:
    return "/".join(parts) or "/"
