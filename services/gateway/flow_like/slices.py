"""Lists by `limit` and `offset`; how many there are in all stands in a header (spec flow-like section 1.1)."""

from collections.abc import Mapping

from libs.common.messages.query import Span
from services.gateway import paging
from services.gateway.flow_like.surface import TOTAL
from services.gateway.operations import Parameter, number

LIMIT_MAX = 100
LIMIT_DEFAULT = 50


def span_of(query: Mapping[str, str], *, default: int = LIMIT_DEFAULT, limit_max: int = LIMIT_MAX) -> Span:
    """Return the part asked for; a limit above the greatest counts as that. Raises Invalid for what is no number."""
    limit = paging.count(query, "limit", default=default, minimum=1)
    offset = paging.count(query, "offset", default=0, minimum=0)
    return Span(limit=min(limit, limit_max), offset=min(offset, paging.PAGE_MAX))


def parameters(*, default: int = LIMIT_DEFAULT, limit_max: int = LIMIT_MAX) -> tuple[Parameter, ...]:
    """Return what is told of `limit` and `offset`."""
    words = f"How many; more than {limit_max} counts as {limit_max}"
    return number("limit", words, default=default, at_least=1), number("offset", "From which on", default=0)


def total(count: int) -> dict[str, str]:
    """Return the header that tells how many there are in all."""
    return {TOTAL: str(count)}
