"""The tables `companies` and `users`."""

from libs.common.messages.access import Company, User
from services.store.database import Connection
from services.store.read_models.text import storable

UPSERT_COMPANIES = """
    insert into companies (id, name, created_at, sequence)
    select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
    on conflict (id) do update set name = excluded.name, sequence = excluded.sequence
    where companies.sequence < excluded.sequence
"""
UPSERT_USERS = """
    insert into users (id, company_id, email, name, role, disabled, password, created_at, updated_at, username,
        sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
        $8::timestamptz[], $9::timestamptz[], $10::text[], $11::bigint[])
    on conflict (id) do update set
        email = excluded.email,
        name = excluded.name,
        role = excluded.role,
        disabled = excluded.disabled,
        password = excluded.password,
        updated_at = excluded.updated_at,
        username = excluded.username,
        sequence = excluded.sequence
    where users.sequence < excluded.sequence
"""


async def write_companies(connection: Connection, companies: list[tuple[Company, int]]) -> None:
    """Write companies with the sequences they were stored at, inside the caller's transaction."""
    rows = [(c.id, storable(c.name), c.created_at, sequence) for c, sequence in companies]
    await connection.execute(UPSERT_COMPANIES, *zip(*rows, strict=True))


async def write_users(connection: Connection, users: list[tuple[User, int]]) -> None:
    """Write users with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            user.id,
            user.company_id,
            storable(user.email),
            storable(user.name),
            user.role,
            user.disabled,
            user.password,
            user.created_at,
            user.updated_at,
            user.username,
            sequence,
        )
        for user, sequence in users
    ]
    await connection.execute(UPSERT_USERS, *zip(*rows, strict=True))
