"""What commands print: tables for people, JSON or YAML for programs, colour only where a person looks."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

STATE_COLOURS = {
    "DONE": "32",
    "FAIL": "31",
    "WAIT": "33",
    "RUN": "36",
    "NEW": "36",
    "DEFERRED": "33",
    "ON_HOLD": "33",
    "SKIP": "2",
    "FILTERED": "2",
}
CELL_CHARS_MIN = 8
GAP = "  "
CUT = "…"


class Printer:
    """Prints to one stream in one form, one of FORMS."""

    def __init__(self, form: str, stream: TextIO, environ: Mapping[str, str], *, width: int | None) -> None:
        """`width` is that of the terminal in characters; None, where there is none, prints whole lines."""
        self.table = form == "table"
        self._yaml = form == "yaml"
        self._stream = stream
        self._width = width
        # https://no-color.org
        self._colours = width is not None and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"

    @classmethod
    def on_stdout(cls, form: str) -> "Printer":
        """Return the printer for this process."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return cls(form, sys.stdout, os.environ, width=width)

    def line(self, text: str) -> None:
        """Print a line at once: who reads through a pipe waits for it."""
        print(text, file=self._stream, flush=True)

    def value(self, value: Any) -> None:
        """Print a value as indented JSON, or as YAML."""
        if self._yaml:
            self._document(value)
            return
        self.line(json.dumps(value, indent=2, ensure_ascii=False))

    def entry(self, value: Any) -> None:
        """Print one value of many that come in time: a line of JSON, or a document of YAML."""
        if self._yaml:
            self.line("---")
            self._document(value)
            return
        self.line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def rows(self, entries: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
        """Print a list: all of it for programs, or a table of these columns (head by field)."""
        if not self.table:
            self.value(list(entries))
            return
        if not entries:
            self.line("nothing found")
            return
        table = [list(columns.values())]
        table += [[cell(entry.get(field)) for field in columns] for entry in entries]
        self._table(table, list(columns).index("state") if "state" in columns else None)

    def fields(self, entry: Mapping[str, Any], names: Iterable[str]) -> None:
        """Print one thing: all of it for programs, or these fields, one a line."""
        if not self.table:
            self.value(entry)
            return
        shown = [(name, entry[name]) for name in names if entry.get(name) not in (None, "", {}, [])]
        longest = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            text = self.state(str(value)) if name == "state" else cell(value)
            self.line(f"{name.ljust(longest)}{GAP}{text}")

    def state(self, text: str, width: int = 0) -> str:
        """Return a state, padded to a width, in its colour where colours are wanted."""
        padded = text.ljust(width)
        colour = STATE_COLOURS.get(text)
        return f"\x1b[{colour}m{padded}\x1b[0m" if self._colours and colour else padded

    def fit(self, text: str) -> str:
        """Return a line cut to the width of the terminal."""
        if self._width is None or len(text) <= self._width:
            return text
        return text[: self._width - 1] + CUT

    def _document(self, value: Any) -> None:
        from libs.cli import yaml_text

        self.line(yaml_text.write(value).removesuffix("\n"))

    def _table(self, table: list[list[str]], state_column: int | None) -> None:
        widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
        # Only the last column gives way: the others are what one copies.
        if self._width is not None:
            rest = self._width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
            widths[-1] = min(widths[-1], max(rest, CELL_CHARS_MIN))
        for number, row in enumerate(table):
            last = row[-1] if len(row[-1]) <= widths[-1] else row[-1][: widths[-1] - 1] + CUT
            cells = [text.ljust(width) for text, width in zip([*row[:-1], last], widths, strict=True)]
            if number and state_column is not None:
                cells[state_column] = self.state(row[state_column], widths[state_column])
            self.line(GAP.join(cells).rstrip())


def cell(value: Any) -> str:
    """Return a value as one line of text that moves no cursor."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            text = value
        case _:
            text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    # A name must not paint the terminal of whoever lists it.
    return "".join(c if c.isprintable() else CUT if c == "\x1b" else " " for c in text)


def note(message: str) -> None:
    """Tell a person something beside the result, on standard error."""
    print(message, file=sys.stderr, flush=True)
