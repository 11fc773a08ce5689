"""What the `$kv` of a play's steps read: fetched before a step is evaluated, the same for all its attempts.

A step's args are evaluated once more for each attempt, from the same inputs. KV entries change meanwhile, so what was
read stands, encrypted by the store, in the event that begins or repeats the step; whoever takes the play over has the
store open it. In the clear it is in a driver's memory only (D14).
"""

import asyncio
from typing import Any, Literal, NamedTuple

import msgspec
import structlog

from libs.common.errors import HeadraceError, Invalid, NotFound, Refused
from libs.common.messages import play as m
from libs.common.messages.flow import Flow
from libs.common.messages.kv import KvConflict, KvReadings, KvWanted, OpenKv, ReadKvForStep
from libs.common.subjects import PlayKey
from libs.expressions import NeedsValue
from services.executor import steps
from services.executor.entries import Entries
from services.executor.masking import secrets_in
from services.executor.plan import Step

STEP_KEYS_MAX = 64
TOO_LARGE = "KV_READ_TOO_LARGE"
TRIES = 2
TRY_PAUSE_S = 0.25

Key = tuple[Literal["get", "getGlobal", "getScoped"], str | None, str | None, str]

log = structlog.get_logger(__name__)
_CONFLICTS: dict[str, KvConflict] = {"parent": "parent", "merge": "merge"}


class Need(NamedTuple):
    """What a step cannot be evaluated without: entries, or the opening of what it had read before.

    `kind` is what the step waits for when nobody answers.
    """

    kind: m.WaitKind
    keys: tuple[Key, ...] = ()
    sealed: tuple[str, ...] = ()


class Reading(msgspec.Struct):
    """What one step has read so far."""

    values: dict[Key, object] = {}
    sealed: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()  # texts of secret entries
    secret_keys: frozenset[Key] = frozenset()
    secret_args: frozenset[str] = frozenset()  # names of the step's args that read one of those


_NOTHING = Reading()


def inherits(flow: Flow) -> bool:
    """Tell whether a flow reads entries of its group and company where it has none of its own."""
    return flow.kv_inherit != "false"


def conflict_of(flow: Flow) -> KvConflict:
    """Return who wins when several scopes hold a key."""
    return _CONFLICTS.get(flow.kv_conflict, "child")


class Readings:
    """The readings of one drive; `name` tells a run of a step from all others of the play."""

    def __init__(self, entries: Entries, key: PlayKey, flow: Flow) -> None:
        self._entries = entries
        self._key = key
        self._flow = flow
        self._readings: dict[str, Reading] = {}

    def __bool__(self) -> bool:
        """Tell whether any step has read anything that it may still need."""
        return bool(self._readings)

    def of(self, name: str) -> Reading:
        """Return what a step has read; empty as long as it has asked for nothing."""
        return self._readings.get(name, _NOTHING)

    def forget(self, name: str) -> None:
        """Drop what a step has read: it has ended, or will read anew."""
        self._readings.pop(name, None)

    def need(self, name: str, step: Step, error: NeedsValue, *, in_filters: bool) -> Need | steps.Failed:
        """Return what to fetch before the step can be evaluated: this entry, and those it is known to ask for."""
        part = step.filters if in_filters else step.args
        known = self.of(name).values
        foreseen: frozenset[Any] = part.kv_keys if part is not None else frozenset()
        keys = tuple(sorted({*foreseen, error.key} - known.keys(), key=repr))
        if len(known) + len(keys) > STEP_KEYS_MAX:
            return steps.Failed(f"$kv: a step reads at most {STEP_KEYS_MAX} entries", TOO_LARGE, final=True)
        return Need("kv-filters" if in_filters else "kv", keys=keys)

    async def fetch(self, name: str, need: Need) -> steps.Failed | steps.Unread | None:
        """Read what is needed, for the step's next evaluation; return why it cannot be had, if so."""
        question = self._question(f"{self._key.play_id}:{name}", need)
        for left in reversed(range(TRIES)):
            try:
                self._keep(name, need, await self._entries.read_for_step(question))
            except (Invalid, NotFound) as error:
                return steps.Failed(f"$kv: {error.message}", "EXPRESSION_ERROR", final=True)
            except Refused as error:
                return steps.Failed(f"$kv: {error.message}", error.code, final=True)
            except HeadraceError as error:
                log.warning("kv_unread", play=self._key.play_id, step=name, error=error.message)
            else:
                return None
            if left:
                await asyncio.sleep(TRY_PAUSE_S)
        return steps.Unread(need.kind)

    def _question(self, key: str, need: Need) -> ReadKvForStep | OpenKv:
        if need.sealed:
            return OpenKv(company_id=self._key.company_id, step=key, sealed=need.sealed)
        flow = self._flow
        return ReadKvForStep(
            company_id=self._key.company_id,
            step=key,
            wanted=tuple(map(_wanted, need.keys)),
            flow_id=flow.id,
            group_id=flow.group_id,
            inherit=inherits(flow),
            conflict=conflict_of(flow),
        )

    def _keep(self, name: str, need: Need, found: KvReadings) -> None:
        reading = self._readings.setdefault(name, Reading())
        for opened in found.opened:
            reading.values[_key_of(opened.wanted)] = opened.value
            if opened.secret:
                reading.secrets |= frozenset(secrets_in(opened.value))
                reading.secret_keys |= {_key_of(opened.wanted)}
        reading.sealed = need.sealed or (*reading.sealed, found.sealed)


def _wanted(key: Key) -> KvWanted:
    kind, scope, scope_key, name = key
    return KvWanted(kind=kind, scope=scope, scope_key=scope_key, key=name)


def _key_of(wanted: KvWanted) -> Key:
    return wanted.kind, wanted.scope, wanted.scope_key, wanted.key
