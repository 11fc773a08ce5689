"""Messages of plays with their big values in their places, as the read models want them (design D13)."""

from collections.abc import Iterator

import msgspec
import structlog

from libs.common import codec
from libs.common.codec import Context
from libs.common.errors import PayloadLost
from libs.common.payloads import Payloads, refs_in
from services.store.log_reader import Record

# Stands in every message that refers to a big value, and rarely in another: looking for it costs next to nothing.
_MARK = b'"payloads":{'

log = structlog.get_logger(__name__)


def may_refer(record: Record) -> bool:
    """Tell, without parsing, whether a message may refer to a big value."""
    return _MARK in record.data


def parts_of(records: list[Record], *, bytes_max: int) -> Iterator[list[Record]]:
    """Split messages so that the big values of each part stay below a size; a larger one stands alone."""
    part: list[Record] = []
    size = 0
    for record in records:
        added = bytes_of(record)
        if part and size + added > bytes_max:
            yield part
            part, size = [], 0
        part.append(record)
        size += added
    yield part


async def whole_record(payloads: Payloads, record: Record) -> Record:
    """Return a message with its big values in their places; one that is gone is null. Raises Unavailable."""
    if bytes_of(record) == 0:
        return record
    try:
        if record.subject.startswith("cmd."):
            envelope = await payloads.whole_message(codec.decode_message(record.data))
            return record._replace(
                data=codec.encode_message(envelope.data, id=envelope.id, context=_context(envelope))
            )
        commit = await payloads.whole_commit(codec.decode_commit(record.data, sequence=record.sequence))
    except PayloadLost as error:
        log.error("payload_lost", subject=record.subject, sequence=record.sequence, error=error.message)  # noqa: TRY400
        return record
    return record._replace(
        data=codec.encode_commit(commit.events, commit_id=commit.id, context=_context(commit))
    )


def bytes_of(record: Record) -> int:
    """Return the size of the big values that a message refers to; 0 for one that cannot be read."""
    if not may_refer(record):
        return 0
    try:
        if record.subject.startswith("cmd."):
            refs = refs_in([codec.decode_message(record.data).data])
        else:
            refs = refs_in(codec.decode_commit(record.data, sequence=record.sequence).events)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # The projection finds out the same, and keeps it as a dead letter.
        return 0
    return sum(ref.bytes for ref in refs)


def _context(read: codec.Commit | codec.Envelope) -> Context:
    return Context(
        source=read.source,
        subject=read.subject,
        correlation_id=read.correlation_id,
        causation_id=read.causation_id,
        traceparent=read.traceparent,
    )
