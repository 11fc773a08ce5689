"""The table `pats`: personal access tokens, to list them."""

from libs.common.messages.pat import Pat
from services.store.database import Connection
from services.store.read_models.text import storable

UPSERT = """
    insert into pats (id, company_id, user_id, name, permissions, revoked, created_at, valid_until, sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::boolean[],
        $7::timestamptz[], $8::timestamptz[], $9::bigint[])
    on conflict (id) do update set revoked = excluded.revoked, sequence = excluded.sequence
    where pats.sequence < excluded.sequence
"""


async def write(connection: Connection, pats: list[tuple[Pat, int]]) -> None:
    """Write tokens with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            p.id,
            p.company_id,
            p.user_id,
            storable(p.name),
            p.permissions,
            p.revoked,
            p.created_at,
            p.valid_until,
            sequence,
        )
        for p, sequence in pats
    ]
    await connection.execute(UPSERT, *zip(*rows, strict=True))
