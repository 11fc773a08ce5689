"""The table `groups`."""

from libs.common.messages.group import Group
from services.store.database import Connection
from services.store.read_models.text import storable

UPSERT = """
    insert into groups (id, company_id, name, index, deleted, created_at, updated_at, sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::boolean[], $6::timestamptz[],
        $7::timestamptz[], $8::bigint[])
    on conflict (id) do update set
        name = excluded.name,
        index = excluded.index,
        deleted = excluded.deleted,
        updated_at = excluded.updated_at,
        sequence = excluded.sequence
    where groups.sequence < excluded.sequence
"""


async def write(connection: Connection, groups: list[tuple[Group, int]]) -> None:
    """Write groups with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (g.id, g.company_id, storable(g.name), g.index, g.deleted, g.created_at, g.updated_at, sequence)
        for g, sequence in groups
    ]
    await connection.execute(UPSERT, *zip(*rows, strict=True))
