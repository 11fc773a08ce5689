"""Tables as CSV text (RFC 4180)."""

import csv
import io
from typing import Annotated, Any

from msgspec import Meta, Struct

from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step
from services.executor.modules.language import text_of

ROWS_MAX = 100_000

Delimiter = Annotated[
    str, Meta(min_length=1, max_length=1, pattern=r'[^"\r\n]', description="What stands between cells.")
]


class CsvParseArgs(Struct, frozen=True, kw_only=True):
    """Args of `csv-parse`."""

    input: Annotated[str, Meta(description="CSV text.")]
    delimiter: Delimiter = ","
    header: Annotated[bool, Meta(description="Whether the first row names the columns.")] = True
    columns: Annotated[
        list[str] | None, Meta(description="Names of the columns, in place of those of a header.")
    ] = None


class CsvParse(PureModule[CsvParseArgs]):
    """CSV text to rows."""

    app_id = "csv-parse"
    isolated = True
    docs = (
        "Reads CSV. With a header or `columns` each row is an object, a missing cell null; without, a list. Cells are "
        f"text; empty lines are left out. At most {ROWS_MAX:,} rows."
    )
    Args = CsvParseArgs
    shown_args = frozenset({"input", "columns"})
    args_example = {"input": 'sku,title\r\nA-1,"Tea, green"\r\nB-2,Cake\r\n'}
    out_example = {
        "rows": [{"sku": "A-1", "title": "Tea, green"}, {"sku": "B-2", "title": "Cake"}],
        "columns": ["sku", "title"],
        "count": 2,
    }

    def evaluate(self, args: CsvParseArgs, step: Step) -> dict[str, Any]:
        """Return rows, columns and count. Raises ModuleFailed for broken quoting or more cells than columns."""
        lines = _lines(args)
        if not args.header and args.columns is None:
            return {"rows": lines, "columns": [], "count": len(lines)}
        named = lines.pop(0) if lines and args.header else []
        columns = named if args.columns is None else args.columns
        if len(set(columns)) < len(columns):
            raise ModuleFailed("csv-parse: two columns have the same name", final=True)
        rows = [_row(columns, cells, number) for number, cells in enumerate(lines, 1)]
        return {"rows": rows, "columns": columns, "count": len(rows)}


class CsvGenerateArgs(Struct, frozen=True, kw_only=True):
    """Args of `csv-generate`."""

    rows: Annotated[list[dict[str, Any] | list[Any]], Meta(description="Objects or lists, one a row.")]
    columns: Annotated[
        list[str] | None,
        Meta(description="The columns and their order; left out: every field, as it first comes."),
    ] = None
    delimiter: Delimiter = ","
    header: Annotated[bool, Meta(description="Whether the first line names the columns.")] = True


class CsvGenerate(PureModule[CsvGenerateArgs]):
    """Rows to CSV text."""

    app_id = "csv-generate"
    isolated = True
    docs = "Writes CSV with CRLF line ends. Cells are written as text, lists and objects as JSON, null as nothing."
    Args = CsvGenerateArgs
    shown_args = frozenset({"rows", "columns", "delimiter"})
    args_example = {"rows": [{"sku": "A-1", "title": "Tea, green"}, {"sku": "B-2", "price": 4.5}]}
    out_example = {"result": 'sku,title,price\r\nA-1,"Tea, green",\r\nB-2,,4.5\r\n', "count": 2}

    def evaluate(self, args: CsvGenerateArgs, step: Step) -> dict[str, Any]:
        """Return the text and the number of rows in it."""
        objects = [row for row in args.rows if isinstance(row, dict)]
        columns = args.columns or list({name: None for row in objects for name in row})
        written = io.StringIO(newline="")
        writer = csv.writer(written, delimiter=args.delimiter)
        if args.header and columns:
            writer.writerow(columns)
        for row in args.rows:
            cells = [row.get(name) for name in columns] if isinstance(row, dict) else row
            writer.writerow([text_of(cell) for cell in cells])
        return {"result": written.getvalue(), "count": len(args.rows)}


def _lines(args: CsvParseArgs) -> list[list[str]]:
    text = io.StringIO(args.input.removeprefix("\ufeff"), newline="")
    lines: list[list[str]] = []
    try:
        for cells in csv.reader(text, delimiter=args.delimiter, strict=True):
            if cells:
                lines.append(cells)
            if len(lines) > ROWS_MAX:
                raise ModuleFailed(f"csv-parse: there are more than {ROWS_MAX:,} rows", final=True)
    except csv.Error as error:
        raise ModuleFailed(f"csv-parse: behind row {len(lines)}: {error}", final=True) from error
    return lines


def _row(columns: list[str], cells: list[str], number: int) -> dict[str, str | None]:
    if len(cells) > len(columns):
        raise ModuleFailed(
            f"csv-parse: row {number} has {len(cells)} cells, the header {len(columns)}", final=True
        )
    return dict(zip(columns, [*cells, *[None] * (len(columns) - len(cells))], strict=True))


MODULES: tuple[type[Module[Any]], ...] = (CsvParse, CsvGenerate)
