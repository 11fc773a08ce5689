"""The table `dead_letters`: messages that could not be projected, kept with the reason; they hold nothing up."""

from typing import NamedTuple

from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models.text import storable

ERROR_CHARS_MAX = 2_000
# How the reason of those begins that a newer release may be able to project.
NEWER = "newer release: "


class DeadLetter(NamedTuple):
    """One message and why it could not be projected."""

    record: Record
    error: str


async def write(connection: Connection, stream: str, letters: list[DeadLetter]) -> None:
    """Keep these messages, inside the caller's transaction."""
    await connection.executemany(
        """
        insert into dead_letters (stream, sequence, subject, error, payload) values ($1, $2, $3, $4, $5)
        on conflict (stream, sequence) do nothing
        """,
        [
            (stream, r.sequence, storable(r.subject), storable(error)[:ERROR_CHARS_MAX], r.data)
            for r, error in letters
        ],
    )


async def of_newer_releases(connection: Connection, stream: str, *, after: int, limit: int) -> list[Record]:
    """Return messages after a sequence that were kept because nobody knew their type, in order."""
    rows = await connection.fetch(
        """
        select subject, sequence, payload from dead_letters
        where stream = $1 and sequence > $2 and starts_with(error, $3)
        order by sequence limit $4
        """,
        stream,
        after,
        NEWER,
        limit,
    )
    return [Record(*row) for row in rows]


async def forget(connection: Connection, stream: str, sequences: list[int]) -> None:
    """Drop messages that are projected now, inside the caller's transaction."""
    await connection.execute(
        "delete from dead_letters where stream = $1 and sequence = any($2::bigint[])", stream, sequences
    )
