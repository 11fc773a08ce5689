"""The table `flows`: each definition as it is now, its layers apart, for lists do not show them."""

from operator import attrgetter
from typing import Any

import msgspec

from libs.common.codec import encode
from libs.common.messages.flow import Flow
from services.store.database import Connection
from services.store.read_models.text import storable

UPSERT = """
    insert into flows (id, company_id, permanent_id, enabled, category, group_id, deleted, created_at, summary, layers,
        sequence)
    select id, company_id, permanent_id, enabled, category, group_id, deleted, created_at, summary::json, layers::json,
        sequence
    from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::boolean[],
        $8::timestamptz[], $9::text[], $10::text[], $11::bigint[])
        as row (id, company_id, permanent_id, enabled, category, group_id, deleted, created_at, summary, layers,
            sequence)
    on conflict (id) do update set
        enabled = excluded.enabled,
        category = excluded.category,
        group_id = excluded.group_id,
        deleted = excluded.deleted,
        summary = excluded.summary,
        layers = excluded.layers,
        sequence = excluded.sequence
    where flows.sequence < excluded.sequence
"""
_by_index = attrgetter("index")


def summary(flow: Flow) -> dict[str, Any]:
    """Return a flow as lists show it: everything but its layers."""
    shown: dict[str, Any] = msgspec.to_builtins(flow, builtin_types=(type(flow.created_at),))
    del shown["layers"]
    return shown


def view(flow: Flow) -> dict[str, Any]:
    """Return a flow as `GET /api/flows/:id` shows it: its layers by index, then as they were added."""
    return summary(flow) | {"layers": sorted(flow.layers, key=_by_index)}


async def write(connection: Connection, flows: list[tuple[Flow, int]]) -> None:
    """Write flows with the sequences they were stored at, inside the caller's transaction."""
    rows = [
        (
            flow.id,
            flow.company_id,
            flow.permanent_id,
            flow.enabled,
            storable(flow.category),
            flow.group_id,
            flow.deleted,
            flow.created_at,
            encode(summary(flow)).decode(),
            encode(sorted(flow.layers, key=_by_index)).decode(),
            sequence,
        )
        for flow, sequence in flows
    ]
    await connection.execute(UPSERT, *zip(*rows, strict=True))
