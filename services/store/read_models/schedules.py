"""The table `schedules`, and the fold of the stream SCHEDULES: of each schedule only its last event counts."""

from libs.common import codec
from libs.common.messages.schedule import Schedule, ScheduleEvent
from libs.common.messages.views import schedule_view
from libs.common.subjects import SCHEDULES
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import audit, checkpoints
from services.store.read_models.audit import AuditRow
from services.store.read_models.checkpoints import Move
from services.store.read_models.text import storable

UPSERT = """
    insert into schedules (id, company_id, flow_id, name, enabled, deleted, created_at, next_at, wake_at, shown,
        sequence)
    select id, company_id, flow_id, name, enabled, deleted, created_at, next_at, wake_at, shown::json, sequence
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], $7::timestamptz[],
        $8::timestamptz[], $9::timestamptz[], $10::text[], $11::bigint[])
        as row (id, company_id, flow_id, name, enabled, deleted, created_at, next_at, wake_at, shown, sequence)
    on conflict (id) do update set
        flow_id = excluded.flow_id,
        name = excluded.name,
        enabled = excluded.enabled,
        deleted = excluded.deleted,
        next_at = excluded.next_at,
        wake_at = excluded.wake_at,
        shown = excluded.shown,
        sequence = excluded.sequence
    where schedules.sequence < excluded.sequence
"""


class SchedulesBatch:
    """The events of one batch."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Schedule, int]] = {}
        self._audit: list[AuditRow] = []

    def add(self, record: Record) -> None:
        """Fold in one event. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        envelope = codec.last_event(record.data)
        event = envelope.data
        match event:
            case ScheduleEvent():
                self._last[event.schedule.id] = (event.schedule, record.sequence)
                deed = audit.row_of(envelope, stream=SCHEDULES, sequence=record.sequence)
                if deed is not None:
                    self._audit.append(deed)
            case _:
                raise ValueError(f"{type(event).__name__} does not belong in this stream")

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the rows and move the checkpoint in one transaction."""
        async with connection.transaction():
            if not await checkpoints.move_only(connection, move):
                return False
            rows = [_row(schedule, sequence) for schedule, sequence in self._last.values()]
            if rows:
                await connection.execute(UPSERT, *zip(*rows, strict=True))
            if self._audit:
                await audit.write(connection, self._audit)
        return True


def _row(schedule: Schedule, sequence: int) -> tuple[object, ...]:
    return (
        schedule.id,
        schedule.company_id,
        schedule.flow_id,
        storable(schedule.name),
        schedule.enabled,
        schedule.deleted,
        schedule.created_at,
        schedule.next_at,
        schedule.wake_at,
        codec.encode(schedule_view(schedule)).decode(),
        sequence,
    )
