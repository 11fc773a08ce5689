"""KV entries: what flows remember from one play to the next (spec flow8 sections 13 and 17.7).

A write carries the step's idempotency key as its id, by which the store knows it again: a step that runs twice, because
its executor died before its end was durable, writes once.
"""

from collections.abc import Awaitable
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct

from libs.common.errors import HeadraceError, Unavailable
from libs.common.messages.kv import AppendKv, IncrementKv, KvScope, KvView, ReadKv, SetKv, UnsetKv
from services.executor.masking import MASK, SHOWN_CODE
from services.executor.modules.contract import EffectModule, Module, ModuleFailed, Services, Step
from services.executor.modules.language import text_of

KEY_CHARS_MAX = 512

T = TypeVar("T")
Key = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX, description="The entry's key.")]
Scope = Annotated[
    Literal["flow", "flow_group", "global"],
    Meta(description="Whose entry: this flow's, that of its group, or the company's."),
]
ScopeKey = Annotated[
    str, Meta(description="Another flow or group, by its id; empty: the flow of this play, or its group.")
]


class KvGetArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `kv-get`."""

    key: Key
    scope: Scope = "flow"
    scope_key: ScopeKey = ""


class KvGet(EffectModule[KvGetArgs]):
    """What is kept under a key."""

    app_id = "kv-get"
    docs = (
        "Reads a KV entry: of `scope`, then of the wider ones when the flow has `kvInherit`; `kvConflict` says which "
        "wins. A key that is not there is no failure: `found` is false. A secret entry fails the step, for "
        "its output is part of the play's history: read it where it is used, with `$kv` in the args of that step."
    )
    Args = KvGetArgs
    args_example = {"key": "lastInvoice"}
    out_example = {"value": "2026-0042", "found": True}

    async def run(self, args: KvGetArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the value, and whether there is one."""
        question = ReadKv(
            company_id=step.company_id,
            key=args.key,
            flow_id=step.flow_id,
            group_id=step.group_id,
            scope=args.scope,
            scope_key=args.scope_key if args.scope != "global" else "",
            inherit=step.kv_inherit,
            conflict=step.kv_conflict,
        )
        found = await _or_fail(self.app_id, services.kv.read(question))
        if found.secret:
            raise ModuleFailed(
                f"{self.app_id}: {args.key} is a secret entry, and its value would stand in the play's history; "
                "read it with $kv in the step that uses it",
                code=SHOWN_CODE,
                final=True,
            )
        return {"value": found.value, "found": found.found}


class KvSetArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `kv-set`."""

    key: Key
    value: Annotated[
        Any, Meta(description="What to keep: a number or boolean as its text, the rest as it is.")
    ]
    scope: Scope = "flow"
    scope_key: ScopeKey = ""


class KvSet(EffectModule[KvSetArgs]):
    """Keep a value."""

    app_id = "kv-set"
    docs = (
        'Sets a KV entry, whatever it was. Numbers and booleans are kept as text (`42` as `"42"`), which arithmetic in '
        "expressions reads as numbers; lists and objects are kept as they are. An entry that is secret stays secret, "
        "and one whose value was made of a secret becomes secret; the value of a secret one is null in the output."
    )
    Args = KvSetArgs
    shown_args = frozenset({"key"})
    args_example = {"key": "lastInvoice", "value": "2026-0042"}
    out_example = {"key": "lastInvoice", "value": "2026-0042", "scope": "flow"}

    async def run(self, args: KvSetArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return key, value and scope as they are kept."""
        value = text_of(args.value) if isinstance(args.value, bool | int | float) else args.value
        if value == MASK:
            raise ModuleFailed("kv-set: arg value is the mask of a secret, not the secret", final=True)
        # What was made of a secret is one.
        secret = True if "value" in step.secret_args else UNSET
        command = SetKv(**_named(args, step), value=value, secret=secret)
        return _shown(await _or_fail(self.app_id, services.kv.write(command)))


class KvAppendArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `kv-append`."""

    key: Key
    value: Annotated[Any, Meta(description="A new element of the list, or more text.")]
    scope: Scope = "flow"
    scope_key: ScopeKey = ""


class KvAppend(EffectModule[KvAppendArgs]):
    """Let a list or a text grow."""

    app_id = "kv-append"
    docs = (
        "Appends to a KV entry: an element to a list, text to text; a key that is not there becomes a list of one. "
        "Atomic, however many plays append at once; anything else than a list or text fails the step."
    )
    Args = KvAppendArgs
    shown_args = frozenset({"key", "value"})
    args_example = {"key": "seen", "value": "2026-0042"}
    out_example = {"value": ["2026-0041", "2026-0042"]}

    async def run(self, args: KvAppendArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the whole value."""
        command = AppendKv(**_named(args, step), value=args.value)
        return {"value": (await _or_fail(self.app_id, services.kv.write(command))).value}


class KvIncrementArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `kv-increment`."""

    key: Key
    by: Annotated[int | float, Meta(description="What to add; negative to count down.")] = 1
    scope: Scope = "flow"
    scope_key: ScopeKey = ""


class KvIncrement(EffectModule[KvIncrementArgs]):
    """Count."""

    app_id = "kv-increment"
    docs = (
        "Adds to a KV entry; a key that is not there counts as 0. Atomic, so that no count is lost however many plays "
        "count at once. A number that is kept as text stays text; anything else than a number fails the step."
    )
    Args = KvIncrementArgs
    shown_args = frozenset({"key", "by"})
    args_example = {"key": "invoices"}
    out_example = {"value": 42}

    async def run(self, args: KvIncrementArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the sum."""
        command = IncrementKv(**_named(args, step), amount=args.by)
        return {"value": (await _or_fail(self.app_id, services.kv.write(command))).value}


class KvDeleteArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `kv-delete`."""

    key: Key
    scope: Scope = "flow"
    scope_key: ScopeKey = ""


class KvDelete(EffectModule[KvDeleteArgs]):
    """Forget a value."""

    app_id = "kv-delete"
    docs = (
        "Deletes a KV entry of exactly this scope. A key that is not there is no failure: `deleted` is false."
    )
    Args = KvDeleteArgs
    shown_args = frozenset({"key"})
    args_example = {"key": "lastInvoice"}
    out_example = {"key": "lastInvoice", "deleted": True}

    async def run(self, args: KvDeleteArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the key, and whether there was an entry."""
        deleted = await _or_fail(self.app_id, services.kv.unset(UnsetKv(**_named(args, step))))
        return {"key": args.key, "deleted": deleted}


_Written = KvSetArgs | KvAppendArgs | KvIncrementArgs | KvDeleteArgs


def _named(args: _Written, step: Step) -> dict[str, Any]:
    """Return which entry a write is about, and who writes."""
    own: dict[KvScope, str] = {"flow": step.flow_id, "flow_group": step.group_id or "", "global": ""}
    scope_key = own[args.scope] if args.scope == "global" else args.scope_key or own[args.scope]
    if args.scope == "flow_group" and not scope_key:
        raise ModuleFailed("scopeKey is required: this flow has no group", final=True)
    return {
        "id": step.idempotency_key,
        "at": step.now,
        "company_id": step.company_id,
        "by": f"play:{step.play_id}",
        "key": args.key,
        "scope": args.scope,
        "scope_key": scope_key,
    }


def _shown(entry: KvView) -> dict[str, Any]:
    return {"key": entry.key, "value": entry.value, "scope": entry.scope}


async def _or_fail(app_id: str, asked: Awaitable[T]) -> T:
    try:
        return await asked
    except Unavailable:
        raise
    except HeadraceError as error:
        # What the store refuses it refuses again.
        raise ModuleFailed(f"{app_id}: {error.message}", code=error.code, final=True) from error


MODULES: tuple[type[Module[Any]], ...] = (KvGet, KvSet, KvAppend, KvIncrement, KvDelete)
