"""The table `channel_requests`, and the fold of the stream REQUESTS to it: a ring of rows for each channel."""

from datetime import timedelta

from libs.common import codec
from libs.common.messages.request import REQUEST_DAYS_MAX, REQUESTS_PER_CHANNEL_MAX, RequestRecorded
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import checkpoints
from services.store.read_models.checkpoints import Move
from services.store.read_models.text import storable

AGE_MAX = timedelta(days=REQUEST_DAYS_MAX)
# Few, for what is overwritten is not there any more: channels that are not called.
FORGET = "delete from channel_requests where at < $1"
UPSERT = """
    with newest as (
        select channel_id, max(n) as n from channel_requests where channel_id = any($1::text[]) group by channel_id
    ), given as (
        select row.*, coalesce(newest.n, 0) + row_number() over (partition by row.channel_id order by ord) as n
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
            $8::integer[], $9::text[], $10::double precision[], $11::text[], $12::text[], $13::bigint[])
            with ordinality as row (channel_id, company_id, id, route_id, at, method, path, status, play_ids,
                duration_ms, headers, ip, body_bytes, ord)
            left join newest on newest.channel_id = row.channel_id
    )
    insert into channel_requests (channel_id, slot, n, company_id, id, route_id, at, method, path, status, play_ids,
        duration_ms, headers, ip, body_bytes)
    select channel_id, (n % $14::bigint)::integer, n, company_id, id, route_id, at, method, path, status, play_ids,
        duration_ms, headers::json, ip, body_bytes
    from given
    on conflict (channel_id, slot) do update set
        n = excluded.n, company_id = excluded.company_id, id = excluded.id, route_id = excluded.route_id,
        at = excluded.at, method = excluded.method, path = excluded.path, status = excluded.status,
        play_ids = excluded.play_ids, duration_ms = excluded.duration_ms, headers = excluded.headers,
        ip = excluded.ip, body_bytes = excluded.body_bytes
"""


class RequestsBatch:
    """The records of one batch; of each channel no more than its ring holds."""

    def __init__(self) -> None:
        self._requests: dict[str, list[RequestRecorded]] = {}

    def add(self, record: Record) -> None:
        """Fold in one message. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        for event in codec.decode_commit(record.data, sequence=record.sequence).events:
            match event:
                case RequestRecorded():
                    self._requests.setdefault(event.channel_id, []).append(event)
                case _:
                    raise ValueError(f"{type(event).__name__} does not belong in this stream")

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the rows, drop those that are too old, and move the checkpoint in one transaction."""
        async with connection.transaction():
            if not await checkpoints.move_only(connection, move):
                return False
            events = [e for ring in self._requests.values() for e in ring[-REQUESTS_PER_CHANNEL_MAX:]]
            if events:
                rows = [_row(event) for event in events]
                await connection.execute(UPSERT, *zip(*rows, strict=True), REQUESTS_PER_CHANNEL_MAX)
                await connection.execute(FORGET, max(event.at for event in events) - AGE_MAX)
        return True


def _row(event: RequestRecorded) -> tuple[object, ...]:
    return (
        event.channel_id,
        event.company_id,
        event.id,
        event.route_id,
        event.at,
        storable(event.method),
        storable(event.path),
        event.status,
        ",".join(event.play_ids),
        event.duration_ms,
        codec.encode({storable(name): storable(value) for name, value in event.headers.items()}).decode(),
        event.ip,
        event.body_bytes,
    )
