"""Big values of plays travel by reference: their JSON lies in chunks beside the log (design D13, docs/bus.md).

A value is named by its content, within its company, so the same value is kept once. It is durable before the message
that names it is sent. The reference stands in a field of its own (`payloads`), beside the user's data and never within,
so nothing that a user sends can be taken for one.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import msgspec

from libs.common import codec, ids, subjects
from libs.common.bus import Bus, Stored
from libs.common.clock import Clock
from libs.common.codec import Commit, Context, Envelope
from libs.common.errors import PayloadLost
from libs.common.messages.payload import PayloadRef
from libs.common.messages.play import BIG_FIELDS, Command, Event

# Part of the format: chunk n of a value holds its bytes from n * CHUNK_BYTES on.
CHUNK_BYTES = 524_288
CHUNKS_AT_ONCE_MAX = 4
# A copy that is younger than this outlives whatever names it now; an older one is written again.
FRESH_S_MAX = 3_600
FRESH_KNOWN_MAX = 4_096
CACHE_BYTES_MAX = 33_554_432
# A replica may lag behind what was acknowledged; the last attempt asks the leader.
READ_ATTEMPTS_MAX = 4
READ_PAUSE_S = 0.05
STAMP = "Nats-Time-Stamp"

M = TypeVar("M", bound=msgspec.Struct)


class Payloads:
    """Writes and reads the big values of plays. Messages pass through unchanged when they hold none."""

    def __init__(self, bus: Bus, clock: Clock, *, inline_bytes_max: int) -> None:
        self._bus = bus
        self._clock = clock
        self._inline_bytes_max = inline_bytes_max
        self._chunks = asyncio.Semaphore(CHUNKS_AT_ONCE_MAX)
        self._fresh: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._cache: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    async def encode_message(
        self, message: Any, *, id: str, context: Context, deadline_s: float | None = None
    ) -> bytes:
        """Encode one command; its big values are durable on return. Raises as `Bus.append`."""
        data = codec.encode_message(message, id=id, context=context)
        if len(data) <= self._inline_bytes_max:
            return data
        stowed = await self._stow(message, codec.company_of(context.source), deadline_s)
        return codec.encode_message(stowed, id=id, context=context)

    async def encode_commit(self, events: Iterable[Any], *, commit_id: str, context: Context) -> bytes:
        """Encode the events of one decision; their big values are durable on return. Raises as `Bus.append`."""
        events = list(events)
        data = codec.encode_commit(events, commit_id=commit_id, context=context)
        if len(data) <= self._inline_bytes_max:
            # None of its values can be big: small plays pay one comparison.
            return data
        company_id = codec.company_of(context.source)
        stowed = [await self._stow(event, company_id, None) for event in events]
        return codec.encode_commit(stowed, commit_id=commit_id, context=context)

    async def _stow(self, message: M, company_id: str, deadline_s: float | None) -> M:
        refs: dict[str, PayloadRef] = {}
        for name in _big_fields(type(message)):
            value = getattr(message, name)
            if isinstance(value, str | list | tuple | dict):
                data = codec.encode(value)
                if len(data) > self._inline_bytes_max:
                    refs[name] = await self._put(company_id, data, deadline_s)
        if not refs:
            return message
        blank = {name: _big_fields(type(message))[name] for name in refs}
        return msgspec.structs.replace(message, **blank, payloads=refs)

    async def _put(self, company_id: str, data: bytes, deadline_s: float | None) -> PayloadRef:
        digest = _digest(data)
        ref = PayloadRef(digest, len(data))
        written_at = self._fresh.get((company_id, digest))
        now = self._clock.now()
        if written_at is not None and now - written_at < timedelta(seconds=FRESH_S_MAX):
            return ref
        appends = [
            self._append(
                subjects.payload_chunk(company_id, digest, place),
                data[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES],
                deadline_s,
            )
            for place in range(_chunks(ref))
        ]
        await asyncio.gather(*appends)
        self._note(company_id, digest, now)
        return ref

    async def _append(self, subject: str, chunk: bytes, deadline_s: float | None) -> None:
        async with self._chunks:
            await self._bus.append(subject, chunk, id=ids.commit_id(), deadline_s=deadline_s)

    def _note(self, company_id: str, digest: str, at: datetime) -> None:
        self._fresh[company_id, digest] = at
        self._fresh.move_to_end((company_id, digest))
        if len(self._fresh) > FRESH_KNOWN_MAX:
            self._fresh.popitem(last=False)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    async def whole_message(self, envelope: Envelope) -> Envelope:
        """Return a command with its big values in their places. Raises PayloadLost, Unavailable."""
        if getattr(envelope.data, "payloads", None) is None:
            return envelope
        data = await self.whole(envelope.data, codec.company_of(envelope.source))
        return msgspec.structs.replace(envelope, data=data)

    async def whole_commit(self, commit: Commit) -> Commit:
        """Return a commit with its big values in their places. Raises PayloadLost, Unavailable."""
        if not any(event.payloads for event in commit.events):
            return commit
        company_id = codec.company_of(commit.source)
        events = tuple([await self.whole(event, company_id) for event in commit.events])
        return msgspec.structs.replace(commit, events=events)

    async def whole(self, message: M, company_id: str) -> M:
        """Return an event or a command with its big values in their places. Raises PayloadLost, Unavailable."""
        refs: dict[str, PayloadRef] | None = getattr(message, "payloads", None)
        if not refs:
            return message
        fields = {
            name: msgspec.json.decode(await self.read(company_id, ref))
            for name, ref in refs.items()
            if name in _big_fields(type(message))
        }
        return msgspec.structs.replace(message, **fields, payloads=None)

    async def read(self, company_id: str, ref: PayloadRef) -> bytes:
        """Return the JSON of a big value. Raises PayloadLost when it is gone, Unavailable."""
        key = (company_id, ref.digest)
        data = self._cache.get(key)
        if data is not None:
            self._cache.move_to_end(key)
            return data
        for attempt in range(READ_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(READ_PAUSE_S * 2**attempt)
            found = await self._load(company_id, ref, from_leader=attempt == READ_ATTEMPTS_MAX - 1)
            data = b"".join(found[place].data for place in sorted(found))
            if len(data) == ref.bytes and _digest(data) == ref.digest:
                self._keep(key, data, found)
                return data
        raise PayloadLost(
            f"a value of {ref.bytes} bytes (sha256 {ref.digest}) is not in {subjects.PAYLOADS} any more"
        )

    async def _load(self, company_id: str, ref: PayloadRef, *, from_leader: bool) -> dict[int, Stored]:
        if not from_leader:
            filter_ = subjects.payload_chunks(company_id, ref.digest)
            stored = await self._bus.load(subjects.PAYLOADS, filter_)
        else:
            chunks = [subjects.payload_chunk(company_id, ref.digest, place) for place in range(_chunks(ref))]
            answers = [await self._bus.last(subjects.PAYLOADS, chunk, leader=True) for chunk in chunks]
            stored = [answer for answer in answers if answer is not None]
        return {int(one.subject.rpartition(".")[2]): one for one in stored}

    def _keep(self, key: tuple[str, str], data: bytes, found: dict[int, Stored]) -> None:
        stamps = [chunk.headers.get(STAMP, "") for chunk in found.values()]
        if all(stamps):
            # As old as its oldest chunk; the server writes nanoseconds, of which we keep six digits.
            self._note(*key, min(datetime.fromisoformat(f"{stamp[:19]}+00:00") for stamp in stamps))
        if len(data) > CACHE_BYTES_MAX or key in self._cache:
            return
        self._cache[key] = data
        self._cached_bytes += len(data)
        while self._cached_bytes > CACHE_BYTES_MAX:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])


def refs_in(messages: Iterable[Any]) -> list[PayloadRef]:
    """Return what these events or commands refer to."""
    return [ref for message in messages for ref in (getattr(message, "payloads", None) or {}).values()]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _chunks(ref: PayloadRef) -> int:
    return -(-ref.bytes // CHUNK_BYTES)


@cache
def _big_fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the names of a message's fields that may be big, with what stands there instead."""
    if not issubclass(kind, Command | Event):
        return {}
    return {
        field.name: field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(kind)
        if field.name in BIG_FIELDS
    }
