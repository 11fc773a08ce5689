"""KV entries: what flows remember between plays, in scopes (spec flow8 section 13)."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.origin import Fact, Wish
from libs.common.messages.query import Page, Query

KvScope = Literal["global", "flow_group", "flow"]
KvConflict = Literal["child", "parent", "merge"]
KV_SCOPES: tuple[KvScope, ...] = ("global", "flow_group", "flow")


class KvEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry as events and tables hold it: `sealed` is the value's JSON, encrypted (D14).

    `applied` are the ids of the last commands that made it so: a repeated one changes nothing, though the stream
    keeps no older value to look for it in.
    """

    id: str
    company_id: str
    scope: KvScope
    scope_key: str
    key: str
    sealed: str
    secret: bool
    created_at: datetime
    updated_at: datetime
    deleted: bool = False
    applied: tuple[str, ...] = ()


class KvView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry as the API shows it; the value of a secret one is null."""

    id: str
    company_id: str
    scope: str
    scope_key: str | None
    key: str
    value: Any
    secret: bool
    created_at: datetime
    updated_at: datetime


# ── commands ────────────────────────────────────────────────────────────────────────────────────────


class KvWish(Wish, frozen=True, kw_only=True):
    """A wish about the entry of a key in one scope; `scope_key` is a flow's or group's id, empty for `global`."""

    key: str
    scope: KvScope = "global"
    scope_key: str = ""


class SetKv(KvWish, frozen=True, kw_only=True, tag="kv.set"):
    """Give an entry this value, whatever it was; `secret` unset leaves that as it is (a new one is not)."""

    value: Any
    secret: bool | UnsetType = UNSET


class AppendKv(KvWish, frozen=True, kw_only=True, tag="kv.append"):
    """Push on an array, add to a string, or begin an array of one element; atomic."""

    value: Any


class IncrementKv(KvWish, frozen=True, kw_only=True, tag="kv.increment"):
    """Add to a number, missing counts as 0; atomic. A numeric string stays a string."""

    amount: int | float = 1


class DeleteKv(Wish, frozen=True, kw_only=True, tag="kv.delete"):
    """Delete the entry of this id."""

    entry_id: str


class UnsetKv(KvWish, frozen=True, kw_only=True, tag="kv.unset"):
    """Delete the entry of a key; one that is not there is no mistake."""


AnyKvCommand = SetKv | AppendKv | IncrementKv | DeleteKv | UnsetKv


# ── questions ───────────────────────────────────────────────────────────────────────────────────────


class ListKv(Query, frozen=True, kw_only=True, tag="kv.list"):
    """Entries of a company by scope and key; `prefix` is how the key begins."""

    page: Page = Page()
    scope: str | None = None
    scope_key: str | None = None
    prefix: str | None = None


class GetKv(Query, frozen=True, kw_only=True, tag="kv.get"):
    """One entry by its id."""

    entry_id: str


class ReadKv(Query, frozen=True, kw_only=True, tag="kv.read"):
    """What a step of a flow reads under a key: the entry of the scope, or of those around it (spec section 13).

    The chain is flow → flow_group (when grouped) → global, from `scope` on; `inherit` false reads `scope` alone.
    `scope_key` empty means the flow itself, or its group. `conflict` says who wins when several scopes hold the key.
    """

    key: str
    flow_id: str
    group_id: str | None = None
    scope: KvScope = "flow"
    scope_key: str = ""
    inherit: bool = True
    conflict: KvConflict = "child"


class KvFound(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What ReadKv found; `value` is null and `found` false when no scope holds the key."""

    value: Any
    found: bool
    secret: bool = False  # an entry it came from is one


class KvWanted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One `$kv` of a step's expressions, as it stands there (spec flow8 section 7).

    `get` reads from the flow's scope on, `getGlobal` the company's, `getScoped` from the scope that it names.
    """

    kind: Literal["get", "getGlobal", "getScoped"]
    scope: str | None = None
    scope_key: str | None = None
    key: str


class ReadKvForStep(Query, frozen=True, kw_only=True, tag="kv.read-for-step"):
    """What all `$kv` of a step read, together; flow, group and rules as in ReadKv.

    `step` names the step of a play that asks: what is sealed for it can be opened for it alone.
    """

    step: str
    wanted: tuple[KvWanted, ...]
    flow_id: str
    group_id: str | None = None
    inherit: bool = True
    conflict: KvConflict = "child"


class KvOpened(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One value that a step read, null when no scope holds the key; `secret` when an entry it came from is one."""

    wanted: KvWanted
    value: Any
    secret: bool = False


class KvReadings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What ReadKvForStep found, and the same encrypted: what an event may hold of it (D14)."""

    opened: tuple[KvOpened, ...]
    sealed: str = ""


class OpenKv(Query, frozen=True, kw_only=True, tag="kv.open"):
    """The values that were sealed for a step when it first read them."""

    step: str
    sealed: tuple[str, ...]


AnyKvQuery = ListKv | GetKv | ReadKv | ReadKvForStep | OpenKv


# ── events (on `evt.kv.<company>.<scope>.<scopeKey>.<id>`, of which only the last is kept) ──────────


class KvEvent(Fact, frozen=True, kw_only=True):
    """A fact about an entry, with the whole of it."""

    entry: KvEntry


class KvSet(KvEvent, frozen=True, kw_only=True):
    """An entry has this value now."""


class KvDeleted(KvEvent, frozen=True, kw_only=True):
    """An entry was deleted; `sealed` is empty."""
