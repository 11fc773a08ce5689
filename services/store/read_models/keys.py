"""The tables `api_keys` and `api_key_uses`."""

from libs.common.messages.key import ApiKey, KeyUsed
from services.store.database import Connection
from services.store.read_models.text import storable

UPSERT = """
    insert into api_keys (id, company_id, user_id, name, scopes, revoked, issued_at, sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
        $7::timestamptz[], $8::bigint[])
    on conflict (id) do update set revoked = excluded.revoked, sequence = excluded.sequence
    where api_keys.sequence < excluded.sequence
"""
UPSERT_USES = """
    insert into api_key_uses (id, company_id, last_used_at)
    select * from unnest($1::text[], $2::text[], $3::timestamptz[])
    on conflict (id) do update set last_used_at = greatest(api_key_uses.last_used_at, excluded.last_used_at)
"""


async def write(connection: Connection, keys: list[tuple[ApiKey, int]]) -> None:
    """Write keys with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            k.id,
            k.company_id,
            k.user_id,
            storable(k.name),
            ",".join(k.scopes),
            k.revoked,
            k.issued_at,
            sequence,
        )
        for k, sequence in keys
    ]
    await connection.execute(UPSERT, *zip(*rows, strict=True))


async def write_uses(connection: Connection, uses: list[KeyUsed]) -> None:
    """Write when keys were used, inside the caller's transaction."""
    rows = [(use.key_id, use.company_id, use.at) for use in uses]
    await connection.execute(UPSERT_USES, *zip(*rows, strict=True))
