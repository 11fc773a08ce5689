"""What gateways ask a store about itself: does it answer, does its database, did the migrations run."""

import msgspec


class GetReadiness(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="readiness.get"
):
    """Tell how the store is that happens to answer (core request on `qry.readiness`)."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a store is. A sentence says what is wrong, None that nothing is; `rtt_ms` is the database's."""

    postgres: str | None = None
    migrations: str | None = None
    projection: str | None = None
    rtt_ms: int = 0
