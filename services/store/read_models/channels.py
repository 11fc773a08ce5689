"""The table `channels`: channels with their routes as the API shows them, so without any secret."""

from libs.common import codec
from libs.common.messages.channel import Channel, channel_view
from services.store.database import Connection

UPSERT = """
    insert into channels (id, company_id, kind, enabled, deleted, created_at, shown, sequence)
    select id, company_id, kind, enabled, deleted, created_at, shown::json, sequence
    from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::timestamptz[], $7::text[],
        $8::bigint[])
        as row (id, company_id, kind, enabled, deleted, created_at, shown, sequence)
    on conflict (id) do update set
        enabled = excluded.enabled,
        deleted = excluded.deleted,
        shown = excluded.shown,
        sequence = excluded.sequence
    where channels.sequence < excluded.sequence
"""


async def write(connection: Connection, channels: list[tuple[Channel, int]]) -> None:
    """Write channels with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            c.id,
            c.company_id,
            c.kind,
            c.enabled,
            c.deleted,
            c.created_at,
            codec.encode(channel_view(c)).decode(),
            sequence,
        )
        for c, sequence in channels
    ]
    await connection.execute(UPSERT, *zip(*rows, strict=True))
