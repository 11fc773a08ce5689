"""How far each stream is projected; moved by compare-and-set in the transaction of the rows (design D10)."""

from typing import NamedTuple, Protocol

from services.store.database import Connection
from services.store.log_reader import Record

# Runs first in each projecting statement: nothing is written when somebody else moved the checkpoint.
MOVE = "update checkpoints set sequence = $3 where stream = $1 and sequence = $2 returning sequence"


class Move(NamedTuple):
    """A checkpoint's way over one batch."""

    stream: str
    before: int
    after: int


class Batch(Protocol):
    """The messages of one batch, folded to the rows they leave behind."""

    def add(self, record: Record) -> None:
        """Fold one message in. Raises msgspec.DecodeError or ValueError, and changes nothing, when it is unreadable.

        Raises UnknownType when all or some of it is of types that only a newer release knows.
        """
        ...

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the rows and move the checkpoint in one transaction; False, and nothing written, when it moved."""
        ...


async def read(connection: Connection, stream: str) -> int:
    """Return a stream's checkpoint, 0 at first."""
    await connection.execute(
        "insert into checkpoints (stream, sequence) values ($1, 0) on conflict (stream) do nothing", stream
    )
    return int(await connection.fetchval("select sequence from checkpoints where stream = $1", stream))


async def move_only(connection: Connection, move: Move) -> bool:
    """Move a checkpoint inside the caller's transaction; False when somebody else did."""
    return await connection.fetchval(MOVE, *move) is not None


async def hold(connection: Connection, move: Move) -> bool:
    """Keep others from moving a checkpoint until the caller's transaction ends; False when it is not at `before`."""
    at = await connection.fetchval(
        "select sequence from checkpoints where stream = $1 for update", move.stream
    )
    return bool(at == move.before)
