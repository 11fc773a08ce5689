"""Reading our own pages: their code blocks, tables, headings and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```([a-z]*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block of a page; `marks` are the words behind its language."""

    page: str
    language: str
    marks: tuple[str, ...]
    text: str


def read(page: str) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text()


def pages() -> list[str]:
    """Return every page of prose below the root."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(page, lang, tuple(marks.split()), text) for lang, marks, text in _FENCE.findall(read(page))]


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def section(page: str, heading: str) -> str:
    """Return the prose below one heading, up to the next of the same or a higher level."""
    lines = prose(page).split("\n")
    start = next(
        n for n, line in enumerate(lines) if line.lstrip("#").strip() == heading and line.startswith("#")
    )
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    ends = (n for n in range(start + 1, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[n]))
    return "\n".join(lines[start + 1 : next(ends, len(lines))])


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without heads and rules."""
    found: list[list[str]] = []
    lines = text.split("\n")
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|") or re.fullmatch(r"[|\s:-]+", line) or re.fullmatch(r"\|[|\s:-]+", below):
            continue
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def words(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def anchors(page: str) -> set[str]:
    """Return the names under which a page's headings can be linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
