"""The table `kv`, and the fold of the stream KV to the rows of entries and of uses of API keys."""

from libs.common import codec, subjects
from libs.common.messages.key import KeyUsed
from libs.common.messages.kv import KvEntry, KvEvent
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import audit, checkpoints, keys
from services.store.read_models.checkpoints import Move
from services.store.read_models.text import storable

DELETE = "delete from kv where id = any($1::text[])"
UPSERT = """
    insert into kv (id, company_id, scope, scope_key, key, sealed, secret, created_at, updated_at)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[],
        $8::timestamptz[], $9::timestamptz[])
    on conflict (id) do update set
        sealed = excluded.sealed,
        secret = excluded.secret,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at
"""


class KvBatch:
    """The messages of one batch; of each entry and key only the last counts."""

    def __init__(self) -> None:
        self._entries: dict[str, KvEntry] = {}
        self._uses: dict[str, KeyUsed] = {}
        self._audit: list[audit.AuditRow] = []

    def add(self, record: Record) -> None:
        """Fold in one event. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        envelope = codec.last_event(record.data)
        match envelope.data:
            case KvEvent() as event:
                row = audit.row_of(envelope, stream=subjects.KV, sequence=record.sequence)
                self._entries[event.entry.id] = event.entry
                if row is not None:
                    self._audit.append(row)
            case KeyUsed() as use:
                self._uses[use.key_id] = use
            case other:
                raise ValueError(f"{type(other).__name__} does not belong in this stream")

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the rows and move the checkpoint in one transaction."""
        async with connection.transaction():
            if not await checkpoints.move_only(connection, move):
                return False
            entries = self._entries.values()
            if gone := [entry.id for entry in entries if entry.deleted]:
                await connection.execute(DELETE, gone)
            if kept := [_row(entry) for entry in entries if not entry.deleted]:
                await connection.execute(UPSERT, *zip(*kept, strict=True))
            if self._uses:
                await keys.write_uses(connection, list(self._uses.values()))
            if self._audit:
                await audit.write(connection, self._audit)
        return True


def _row(entry: KvEntry) -> tuple[object, ...]:
    return (
        entry.id,
        entry.company_id,
        entry.scope,
        entry.scope_key,
        storable(entry.key),
        entry.sealed,
        entry.secret,
        entry.created_at,
        entry.updated_at,
    )
