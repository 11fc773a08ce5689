"""KV entries: set, grown, deleted, read along their scopes (spec flow8 section 13).

An entry lives as the last message of its subject in the stream KV, encrypted; reading one for a step asks that stream,
so a step reads what the step before has written, whatever the projection does.
"""

import asyncio
from typing import Any

import msgspec
from msgspec import UNSET

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.cipher import Cipher, CipherRefused
from libs.common.errors import Invalid, NotFound, Refused
from libs.common.ids import derived_id, is_id
from libs.common.messages.flow import Flow, FlowEvent
from libs.common.messages.group import GroupEvent
from libs.common.messages.kv import (
    AppendKv,
    DeleteKv,
    GetKv,
    IncrementKv,
    KvDeleted,
    KvEntry,
    KvEvent,
    KvFound,
    KvOpened,
    KvReadings,
    KvScope,
    KvSet,
    KvView,
    KvWanted,
    ListKv,
    OpenKv,
    ReadKv,
    ReadKvForStep,
    SetKv,
    UnsetKv,
)
from libs.common.messages.origin import Wish
from libs.common.messages.query import Reply, Rows
from services.store.claims import PERMANENT, Claims
from services.store.domain import kv as rules
from services.store.domain.names import is_permanent_id
from services.store.ledger import Decided, Ledger, Stand, check_command
from services.store.listing import Listing, Where

_COLUMNS = "id, company_id, scope, scope_key, key, sealed, secret, created_at, updated_at"
TOO_LARGE = "KV_READ_TOO_LARGE"

_decode_readings = msgspec.json.Decoder(tuple[KvOpened, ...]).decode


class Kv:
    """Answers `cmd.kv` and `qry.kv`."""

    def __init__(
        self, bus: Bus, ledger: Ledger, definitions: Ledger, listing: Listing, cipher: Cipher
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._definitions = definitions
        self._listing = listing
        self._cipher = cipher

    # ── commands ────────────────────────────────────────────────────────────────────────────────────

    async def write(self, command: SetKv | AppendKv | IncrementKv) -> Reply:
        """Set, append to or increment an entry, and return `{entry, created}`.

        However many do so at once, each counts, and each once. Raises Invalid naming the field, Refused
        (KV_TYPE_MISMATCH), NotFound for no such flow or group.
        """
        check_command(command)
        key = rules.check_key(command.key)
        scope_key = await self._scope_key(command.company_id, command.scope, command.scope_key)
        id = entry_id(command.company_id, command.scope, scope_key, key)
        made_new = False

        async def rule(known: Stand | None) -> Decided | None:
            nonlocal made_new
            entry = _entry(known)
            if entry is not None and command.id in entry.applied:
                return None
            there = entry is not None and not entry.deleted
            old = self._opened(entry) if entry is not None and there else rules.MISSING
            value = rules.next_value(command, old)
            made_new = not there
            secret = entry.secret if entry is not None and there else False
            if isinstance(command, SetKv) and command.secret is not UNSET:
                secret = command.secret
            made = KvEntry(
                id=id,
                company_id=command.company_id,
                scope=command.scope,
                scope_key=scope_key,
                key=key,
                sealed=self._cipher.seal(msgspec.json.encode(value).decode(), context=f"kv:{id}"),
                secret=secret,
                created_at=entry.created_at if entry is not None and there else command.at,
                updated_at=command.at,
                applied=(*(entry.applied if entry is not None else ()), command.id)[-rules.APPLIED_MAX :],
            )
            return Decided(KvSet(at=command.at, by=command.by, origin=command.origin, entry=made))

        subject = subjects.kv(command.company_id, command.scope, scope_key, id)
        done = await self._ledger.commit(command, subject, rule)
        answer = {"entry": self._view(done.event.entry), "created": made_new}
        return Reply(data=msgspec.Raw(codec.encode(answer)), sequences={subjects.KV: done.sequence})

    async def delete(self, command: DeleteKv) -> Reply:
        """Delete an entry. Raises NotFound (KV_NOT_FOUND)."""
        check_command(command)
        if not is_id(command.entry_id):
            raise _missing(command.entry_id)
        found = await self._ledger.all(f"evt.kv.{command.company_id}.*.*.{command.entry_id}")
        entry = _entry(found[0]) if found else None
        if entry is None or (entry.deleted and command.id not in entry.applied):
            raise _missing(command.entry_id)
        done = await self._deleted(command, entry)
        return Reply(data=msgspec.Raw(codec.encode({"id": entry.id})), sequences={subjects.KV: done.sequence})

    async def unset(self, command: UnsetKv) -> Reply:
        """Delete an entry by its key, and return `{found}`. Raises as `write`."""
        check_command(command)
        key = rules.check_key(command.key)
        scope_key = await self._scope_key(command.company_id, command.scope, command.scope_key)
        id = entry_id(command.company_id, command.scope, scope_key, key)
        entry = _entry(await self._ledger.last(subjects.kv(command.company_id, command.scope, scope_key, id)))
        if entry is None or (entry.deleted and command.id not in entry.applied):
            return Reply(data=msgspec.Raw(codec.encode({"found": False})))
        done = await self._deleted(command, entry)
        return Reply(data=msgspec.Raw(codec.encode({"found": True})), sequences={subjects.KV: done.sequence})

    async def drop_scope(self, command: Wish, scope: KvScope, scope_key: str) -> None:
        """Delete all entries of one flow or group."""
        for stand in await self._ledger.all(subjects.kv(command.company_id, scope, scope_key, "*")):
            entry = _entry(stand)
            if entry is not None and not entry.deleted:
                one = DeleteKv(
                    id=derived_id(command.id, entry.id),
                    at=command.at,
                    company_id=command.company_id,
                    by=command.by,
                    origin=command.origin,
                    entry_id=entry.id,
                )
                await self._deleted(one, entry)

    async def _deleted(self, command: DeleteKv | UnsetKv, entry: KvEntry) -> Stand:
        async def rule(known: Stand | None) -> Decided | None:
            now = _entry(known)
            if now is None or now.deleted:
                return None
            gone = msgspec.structs.replace(
                now, sealed="", deleted=True, updated_at=command.at, applied=(command.id,)
            )
            return Decided(KvDeleted(at=command.at, by=command.by, origin=command.origin, entry=gone))

        subject = subjects.kv(entry.company_id, entry.scope, entry.scope_key, entry.id)
        return await self._ledger.commit(command, subject, rule)

    # ── questions ───────────────────────────────────────────────────────────────────────────────────

    async def read(self, query: ReadKv) -> KvFound:
        """Return what a step reads under a key, along the scopes. Raises Invalid for a scope it cannot have."""
        value, secret = await self._read(query)
        if value is rules.MISSING:
            return KvFound(value=None, found=False)
        return KvFound(value=value, found=True, secret=secret)

    async def read_for_step(self, query: ReadKvForStep) -> KvReadings:
        """Return what all `$kv` of a step read, and the same sealed for that step.

        Raises Invalid as `read`, Refused (KV_READ_TOO_LARGE) when it is more than a step may read.
        """
        if len(query.wanted) > rules.STEP_KEYS_MAX:
            raise Refused(f"a step reads at most {rules.STEP_KEYS_MAX} KV entries", code=TOO_LARGE)
        opened = tuple(await asyncio.gather(*(self._reading(query, wanted) for wanted in query.wanted)))
        content = msgspec.json.encode(opened)
        if len(content) > rules.STEP_BYTES_MAX:
            raise Refused(
                f"what one step reads of KV has at most {rules.STEP_BYTES_MAX} bytes, not {len(content)}",
                code=TOO_LARGE,
            )
        context = _step_context(query.company_id, query.step)
        return KvReadings(opened=opened, sealed=self._cipher.seal(content.decode(), context=context))

    async def open(self, query: OpenKv) -> KvReadings:
        """Return what was sealed for a step. Raises Refused (KV_UNREADABLE) when it was sealed for another."""
        context = _step_context(query.company_id, query.step)
        try:
            texts = [self._cipher.open(sealed, context=context) for sealed in query.sealed]
        except CipherRefused as error:
            raise Refused(f"what the step had read of KV: {error}", code="KV_UNREADABLE") from error
        return KvReadings(opened=tuple(reading for text in texts for reading in _decode_readings(text)))

    async def _reading(self, query: ReadKvForStep, wanted: KvWanted) -> KvOpened:
        scope: KvScope = "global" if wanted.kind == "getGlobal" else "flow"
        if wanted.kind == "getScoped":
            scope = rules.check_scope(wanted.scope)
        one = ReadKv(
            company_id=query.company_id,
            key=wanted.key,
            flow_id=query.flow_id,
            group_id=query.group_id,
            scope=scope,
            scope_key=wanted.scope_key or "",
            inherit=query.inherit,
            conflict=query.conflict,
        )
        value, secret = await self._read(one)
        return KvOpened(wanted=wanted, value=None if value is rules.MISSING else value, secret=secret)

    async def _read(self, query: ReadKv) -> tuple[Any, bool]:
        """Return the value, MISSING when there is none, and whether a secret is in it."""
        key = rules.check_key(query.key)
        entries = [
            entry
            for scope, scope_key in await self._chain(query)
            if (entry := await self._present(query.company_id, scope, scope_key, key)) is not None
        ]
        value = rules.resolved([self._opened(entry) for entry in entries], query.conflict)
        return value, any(entry.secret for entry in entries)

    async def page(self, query: ListKv) -> Rows:
        """Return a page of entries, by scope and key; secret ones without their value."""
        await self._listing.caught_up(query)
        where = (
            Where(query.company_id)
            .add("scope = ", query.scope)
            .add("scope_key = ", query.scope_key)
            .add("starts_with(key, ", query.prefix)
        )
        if query.prefix is not None:
            where.text += ")"
        rows, total = await self._listing.page(_COLUMNS, "kv", where, "scope, scope_key, key, id", query.page)
        return Rows([self._view(KvEntry(**row)) for row in rows], total)

    async def get(self, query: GetKv) -> KvView:
        """Return one entry. Raises NotFound (KV_NOT_FOUND)."""
        await self._listing.caught_up(query)
        row = await self._listing.row(_COLUMNS, "kv", Where(query.company_id).add("id = ", query.entry_id))
        if row is None:
            raise _missing(query.entry_id)
        return self._view(KvEntry(**row))

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    async def _scope_key(self, company_id: str, scope: str, scope_key: str) -> str:
        """Return the id that a scope key stands for; a flow's permanentId is accepted as well."""
        if rules.check_scope(scope) == "global":
            if scope_key:
                raise Invalid("scopeKey belongs to the scopes flow and flow_group")
            return ""
        if not scope_key:
            raise Invalid(f"scopeKey is required for the scope {scope}")
        if scope == "flow":
            flow = await self._flow(company_id, scope_key)
            if flow is None:
                raise Invalid(f"scopeKey {scope_key[:80]} names no flow")
            return flow.id
        subject = subjects.definition("group", company_id, scope_key)
        known = await self._definitions.last(subject) if is_id(scope_key) else None
        if known is None or not isinstance(known.event, GroupEvent) or known.event.group.deleted:
            raise Invalid(f"scopeKey {scope_key[:80]} names no group")
        return scope_key

    async def _flow(self, company_id: str, flow: str) -> Flow | None:
        flow_id: str | None = flow
        if not is_id(flow):
            if not is_permanent_id(flow):
                return None
            flow_id = await Claims(self._bus, company_id, PERMANENT).owner(flow)
        if flow_id is None:
            return None
        known = await self._definitions.last(subjects.definition("flow", company_id, flow_id))
        if known is None or not isinstance(known.event, FlowEvent) or known.event.flow.deleted:
            return None
        return known.event.flow

    async def _chain(self, query: ReadKv) -> list[tuple[KvScope, str]]:
        """Return the scopes to look in, the narrowest first."""
        if not is_id(query.company_id):
            raise Invalid("companyId is not an id")
        chain: list[tuple[KvScope, str]] = []
        group_id = query.group_id
        if query.scope == "flow":
            flow_id = query.scope_key or query.flow_id
            if flow_id != query.flow_id:
                flow = await self._flow(query.company_id, flow_id)
                if flow is None:
                    raise Invalid(f"scopeKey {flow_id[:80]} names no flow")
                flow_id, group_id = flow.id, flow.group_id
            chain.append(("flow", _id(flow_id)))
        elif query.scope == "flow_group":
            group_id = query.scope_key or group_id
            if group_id is None:
                raise Invalid("scopeKey is required: this flow has no group")
        if group_id is not None and query.scope != "global":
            chain.append(("flow_group", _id(group_id)))
        chain.append(("global", ""))
        return chain if query.inherit else chain[:1]

    async def _present(self, company_id: str, scope: KvScope, scope_key: str, key: str) -> KvEntry | None:
        id = entry_id(company_id, scope, scope_key, key)
        entry = _entry(await self._ledger.last(subjects.kv(company_id, scope, scope_key, id)))
        return None if entry is None or entry.deleted else entry

    def _opened(self, entry: KvEntry) -> Any:
        return msgspec.json.decode(self._cipher.open(entry.sealed, context=f"kv:{entry.id}"))

    def _view(self, entry: KvEntry) -> KvView:
        return KvView(
            id=entry.id,
            company_id=entry.company_id,
            scope=entry.scope,
            scope_key=entry.scope_key or None,
            key=entry.key,
            value=None if entry.secret else self._opened(entry),
            secret=entry.secret,
            created_at=entry.created_at,
            updated_at=entry.updated_at,
        )


def entry_id(company_id: str, scope: str, scope_key: str, key: str) -> str:
    """Return the id of the entry of a key in a scope: always the same, so that two cannot be made of one."""
    return derived_id("kv", company_id, scope, scope_key, key)


def _step_context(company_id: str, step: str) -> str:
    return f"kv-read:{company_id}:{step}"


def _entry(known: Stand | None) -> KvEntry | None:
    return known.event.entry if known is not None and isinstance(known.event, KvEvent) else None


def _id(text: str) -> str:
    if not is_id(text):
        raise Invalid(f"{text[:80]} is not an id")
    return text


def _missing(entry: str) -> NotFound:
    return NotFound(f"there is no KV entry {entry[:80]}", code="KV_NOT_FOUND")
