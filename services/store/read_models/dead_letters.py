"""The table `dead_letters`: messages that could not be projected, kept with the reason; they hold nothing up."""

from typing import NamedTuple

from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models.text import storable

ERROR_CHARS_MAX = 2_000


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
