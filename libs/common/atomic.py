"""An atomic batch of JetStream on the wire: messages of one stream that are stored all or none, with one sync.

The format is NATS' ADR-50. What to put into a batch, and what a refusal means, is for those who send it: `group` for
appends that know nothing of each other, `batches` for those that belong together.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from libs.common import ids
from libs.common.connection import Connection

BATCH_TIMEOUT_S = 5.0


class Write(NamedTuple):
    """One message of a batch."""

    subject: str
    data: bytes
    headers: Mapping[str, str]


class ApiError(msgspec.Struct):
    """Why JetStream refuses."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class BatchAck(msgspec.Struct):
    """The place of a batch's last message and how many were stored, or why none was."""

    seq: int = 0
    count: int = 0
    error: ApiError | None = None


_decode_ack = msgspec.json.Decoder(BatchAck).decode


async def send_batch(connection: Connection, writes: Sequence[Write]) -> BatchAck:
    """Send messages as one batch and return what the server says of it.

    Raises Unavailable when it says nothing in time, msgspec.DecodeError when that is no acknowledgement: the batch may
    be stored all the same.
    """
    batch = ids.commit_id()
    for number, write in enumerate(writes[:-1], start=1):
        headers = {**write.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        await connection.publish(write.subject, write.data, headers=headers)
    last = writes[-1]
    headers = {
        **last.headers,
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(len(writes)),
        "Nats-Batch-Commit": "1",
    }
    answer = await connection.request(last.subject, last.data, headers=headers, timeout_s=BATCH_TIMEOUT_S)
    return _decode_ack(answer.data)
