"""The tables `apps`, `app_keys` and `reviews`."""

from libs.common.codec import encode
from libs.common.messages.app import App
from libs.common.messages.app_key import AppKey
from libs.common.messages.review import Review
from services.store.database import Connection
from services.store.domain.app import is_listed, owner_of
from services.store.read_models.text import storable

# `member_ids` come separated by commas: unnest takes no array of arrays of unlike lengths.
UPSERT_APPS = """
    insert into apps (id, company_id, owner_id, member_ids, visibility, listed, deleted, price, installed_from,
        definition, created_at, updated_at, sequence)
    select id, company_id, owner_id, string_to_array(member_ids, ','), visibility, listed, deleted, price,
        installed_from, definition::jsonb, created_at, updated_at, sequence
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::boolean[],
        $8::integer[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
        as row (id, company_id, owner_id, member_ids, visibility, listed, deleted, price, installed_from, definition,
            created_at, updated_at, sequence)
    on conflict (id) do update set
        owner_id = excluded.owner_id,
        member_ids = excluded.member_ids,
        visibility = excluded.visibility,
        listed = excluded.listed,
        deleted = excluded.deleted,
        price = excluded.price,
        definition = excluded.definition,
        updated_at = excluded.updated_at,
        sequence = excluded.sequence
    where apps.sequence < excluded.sequence
"""
UPSERT_KEYS = """
    insert into app_keys (id, company_id, app_id, name, description, role_id, revoked, created_at, valid_until,
        sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[],
        $8::timestamptz[], $9::timestamptz[], $10::bigint[])
    on conflict (id) do update set revoked = excluded.revoked, sequence = excluded.sequence
    where app_keys.sequence < excluded.sequence
"""
UPSERT_REVIEWS = """
    insert into reviews (id, app_id, user_id, user_name, rating, text, deleted, created_at, updated_at, sequence)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::boolean[],
        $8::timestamptz[], $9::timestamptz[], $10::bigint[])
    on conflict (id) do update set
        user_name = excluded.user_name,
        rating = excluded.rating,
        text = excluded.text,
        deleted = excluded.deleted,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        sequence = excluded.sequence
    where reviews.sequence < excluded.sequence
"""


async def write(connection: Connection, apps: list[tuple[App, int]]) -> None:
    """Write apps with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            a.id,
            a.company_id,
            owner_of(a),
            ",".join(member.user_id for member in a.members),
            a.visibility,
            is_listed(a),
            a.deleted,
            a.price,
            a.installed_from,
            # As U+0000 is escaped in JSON; no jsonb takes it.
            encode(a).decode().replace("\\u0000", "\\ufffd"),
            a.created_at,
            a.updated_at,
            sequence,
        )
        for a, sequence in apps
    ]
    await connection.execute(UPSERT_APPS, *zip(*rows, strict=True))


async def write_keys(connection: Connection, keys: list[tuple[AppKey, int]]) -> None:
    """Write keys of apps, as `write` does."""
    rows = [
        (
            k.id,
            k.company_id,
            k.app_id,
            storable(k.name),
            None if k.description is None else storable(k.description),
            k.role_id,
            k.revoked,
            k.created_at,
            k.valid_until,
            sequence,
        )
        for k, sequence in keys
    ]
    await connection.execute(UPSERT_KEYS, *zip(*rows, strict=True))


async def write_reviews(connection: Connection, reviews: list[tuple[Review, int]]) -> None:
    """Write reviews, as `write` does."""
    rows = [
        (
            r.id,
            r.app_id,
            r.user_id,
            storable(r.user_name),
            r.rating,
            storable(r.text),
            r.deleted,
            r.created_at,
            r.updated_at,
            sequence,
        )
        for r, sequence in reviews
    ]
    await connection.execute(UPSERT_REVIEWS, *zip(*rows, strict=True))
