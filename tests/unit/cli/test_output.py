"""Output is for people on a terminal, for programs elsewhere, and never both."""

import io
import json

import pytest

from libs.cli.output import Printer, cell
from libs.cli.watching import exit_code_of, line_of

COLUMNS = {"id": "PLAY", "state": "STATE", "error": "ERROR"}
ROWS: list[dict[str, str | None]] = [
    {"id": "1", "state": "DONE", "error": None},
    {"id": "22", "state": "FAIL", "error": "too long to fit"},
]
FRAME = {
    "type": "play:layer:failed", "playId": "p1", "flowId": "f1", "ref": "sum", "state": "FAIL",
    "error": "no", "errorCode": "REFUSED", "timestamp": "2026-11-22T01:30:43Z", "sequence": 7,
}  # fmt: skip


def printed(form: str = "table", *, width: int | None = None, environ: dict[str, str] | None = None) -> str:
    stream = io.StringIO()
    Printer(form, stream, environ or {}, width=width).rows(ROWS, COLUMNS)
    return stream.getvalue()


def test_a_table_has_its_columns_under_each_other() -> None:
    assert printed().splitlines() == [
        "PLAY  STATE  ERROR",
        "1     DONE",
        "22    FAIL   too long to fit",
    ]


def test_colour_is_only_for_terminals_that_want_it() -> None:
    assert "\x1b[31mFAIL" in printed(width=80)
    assert "\x1b[" not in printed(width=80, environ={"NO_COLOR": "1"})
    assert "\x1b[" not in printed(width=80, environ={"TERM": "dumb"})
    assert "\x1b[" not in printed()


def test_an_empty_no_color_forbids_nothing() -> None:
    assert "\x1b[" in printed(width=80, environ={"NO_COLOR": ""})


def test_a_line_is_cut_to_the_terminal_and_to_nothing_else() -> None:
    plain = printed(width=22, environ={"NO_COLOR": "1"}).splitlines()
    assert plain[2] == "22    FAIL   too long…"
    assert max(map(len, plain)) <= 22


def test_json_is_the_whole_of_it() -> None:
    assert json.loads(printed("json", width=20)) == ROWS


def test_nothing_is_an_empty_list_or_a_sentence() -> None:
    stream = io.StringIO()
    Printer("table", stream, {}, width=None).rows([], COLUMNS)
    Printer("json", stream, {}, width=None).rows([], COLUMNS)
    assert stream.getvalue() == "nothing found\n[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        ({"a": [1]}, '{"a": [1]}'),
        ("a\nb\x1b[31m", "a b…[31m"),
    ],
)
def test_a_value_is_one_line_that_moves_no_cursor(value: object, text: str) -> None:
    assert cell(value) == text


def test_a_frame_is_a_line() -> None:
    printer = Printer("table", io.StringIO(), {}, width=None)
    words = line_of(FRAME, printer, alone=True).split()
    assert words == ["2026-11-22T01:30:43Z", "FAIL", "layer", "failed", "sum", "REFUSED:", "no"]
    assert line_of(FRAME, printer, alone=False).split()[1] == "p1"


@pytest.mark.parametrize(
    ("state", "code"), [("DONE", 0), ("SKIP", 0), ("FILTERED", 0), ("WAIT", 0), ("FAIL", 1)]
)
def test_only_a_failed_play_is_a_failure(state: str, code: int) -> None:
    assert exit_code_of(state) == code
