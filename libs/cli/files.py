"""Files that commands take and make; `-` is standard input."""

import sys
from pathlib import Path

from libs.cli.errors import USAGE, CommandFailed

STANDARD_INPUT = "-"


def read(file: str) -> bytes:
    """Return what a file holds. Raises CommandFailed when it cannot be read."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", USAGE) from error


def text(content: bytes, file: str) -> str:
    """Return the text of a file. Raises CommandFailed when it holds something else."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file} is no text: {error}", USAGE) from error


def write(file: str, content: str) -> None:
    """Write a file anew. Raises CommandFailed when it cannot be written."""
    try:
        Path(file).write_text(content)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}", USAGE) from error
