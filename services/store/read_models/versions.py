"""The table `flow_versions`: that each version was made; what it held is in the log."""

from typing import NamedTuple

from libs.common.messages.flow import FlowEvent
from services.store.database import Connection

INSERT = """
    insert into flow_versions (flow_id, version, company_id, sequence, at, by, change)
    select * from unnest($1::text[], $2::integer[], $3::text[], $4::bigint[], $5::timestamptz[], $6::text[],
        $7::text[])
    on conflict (flow_id, version) do nothing
"""


class VersionRow(NamedTuple):
    """One change of a flow and its place."""

    event: FlowEvent
    sequence: int
    change: str


async def write(connection: Connection, versions: list[VersionRow]) -> None:
    """Write versions, inside the caller's transaction."""
    rows = [
        (e.flow.id, e.flow.version, e.flow.company_id, sequence, e.at, e.by, change)
        for e, sequence, change in versions
    ]
    await connection.execute(INSERT, *zip(*rows, strict=True))
