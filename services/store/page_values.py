"""What a page of a list shows of values: big ones are left to the answer about one play or one step (ADR 13).

A page that holds what it may shows null for the rest, and says so; values of up to SMALL_BYTES_MAX stand there always.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

SMALL_BYTES_MAX = 4_096
LISTED_VALUE_BYTES_MAX = 1_048_576
LISTED_BYTES_MAX = 8_388_608
# The runs of one step, named by its ref: any value that is first on its page is shown whole.
STEP_BYTES_MAX = 33_554_432


class Room(NamedTuple):
    """How large a value, and all that are not small together, may be; `first_whole`: the first row's always stand."""

    value_bytes_max: int
    bytes_max: int
    first_whole: bool = False


LIST = Room(LISTED_VALUE_BYTES_MAX, LISTED_BYTES_MAX)
STEP = Room(STEP_BYTES_MAX, STEP_BYTES_MAX, first_whole=True)


def page_of(rows: str, shown_columns: str, *columns: str, room: Room) -> str:
    """Return the statement for the rows of another, in their order, whose JSON `columns` take no more than this room.

    `shown_columns` are the other columns of an answer. For each of `columns` there is another, `<column>_truncated`,
    that tells whether its value was left out.
    """
    sizes = ", ".join(f"{_bytes(column, room)} as {column}_bytes" for column in columns)
    taken = " + ".join(_taken(column, room) for column in columns)
    shown = ", ".join(
        f"case when {_fits(column, room)} then {column} end as {column},"
        f" {column} is not null and not {_fits(column, room)} as {column}_truncated"
        for column in columns
    )
    kept = f"select *, row_number() over () as place, {sizes} from page"  # noqa: S608 - names of ours
    return f"""
        with page as materialized ({rows}), measured as ({kept}),
            counted as (select *, sum({taken}) over (order by place) as so_far from measured)
        select {shown_columns}, {shown} from counted order by place
    """  # noqa: S608 - names and numbers of ours


def shortened(rows: Iterable[dict[str, Any]], column: str, *, room: Room) -> list[dict[str, Any]]:
    """Return rows that are not in the database as `page_of` shows them, with one column of JSON."""
    shown, so_far = [], 0
    for place, row in enumerate(rows):
        size = 0 if row[column] is None else len(row[column].encode())
        within = size <= room.value_bytes_max
        so_far += size if within and size > SMALL_BYTES_MAX else 0
        first = room.first_whole and place == 0
        if size <= SMALL_BYTES_MAX or (within and so_far <= room.bytes_max) or first:
            shown.append(row)
        else:
            shown.append(row | {column: None, f"{column}_truncated": True})
    return shown


def _bytes(column: str, room: Room) -> str:
    # What is big even when it is compressed is not unpacked to be measured.
    stored = f"pg_column_size({column})"
    return (
        f"case when {column} is null then 0 when {stored} > {room.value_bytes_max} then {stored}"
        f" else octet_length({column}::text) end"
    )


def _taken(column: str, room: Room) -> str:
    counts = f"{column}_bytes > {SMALL_BYTES_MAX} and {column}_bytes <= {room.value_bytes_max}"
    return f"case when {counts} then {column}_bytes else 0 end"


def _fits(column: str, room: Room) -> str:
    first = " or place = 1" if room.first_whole else ""
    within = f"{column}_bytes <= {room.value_bytes_max} and so_far <= {room.bytes_max}"
    return f"({column}_bytes <= {SMALL_BYTES_MAX} or {within}{first})"
