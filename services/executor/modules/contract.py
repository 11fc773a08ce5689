"""What a module is: typed args in, JSON out, declared pure or with effects (design D6, spec flow8 section 17.9)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import aiohttp
import msgspec

from libs.common.messages.kv import KvConflict
from libs.common.messages.play import ChildPlay
from services.executor.entries import Entries
from services.executor.plays import Plays
from services.executor.storage import Storage

# Kinds of components in the contract (spec flow8 section 17.9).
COMPONENTS = frozenset({"storage", "ai", "db", "request", "console"})

A = TypeVar("A", bound=msgspec.Struct)


class ModuleFailed(Exception):
    """The step failed; the message says why. Retried by the step's own rules unless `final`."""

    def __init__(self, message: str, *, code: str = "MODULE_ERROR", final: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.final = final


class ModuleSkipped(Exception):
    """The module chose to do nothing: the step becomes SKIP with an empty output (spec flow8 section 9)."""


class Wait(msgspec.Struct, frozen=True):
    """A pure module's answer that the step is done `delay_ms` milliseconds from now, with this output."""

    delay_ms: int
    out: Any


class Loop(msgspec.Struct, frozen=True):
    """The iterator's answer: the steps of its body run once for each of these items, `batch_size` of them at once."""

    items: list[Any]
    batch_size: int


class ChildCall(msgspec.Struct, frozen=True):
    """An effect's answer that the step is done when this play has ended, or fails after so many seconds."""

    child: ChildPlay
    args: dict[str, Any]
    timeout_s: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Where a module call stands; the idempotency key is the same on every attempt (spec flow8 override 2).

    `seed` feeds whatever a module draws at random and is the same on every attempt (design D8). `group_id` and the
    rules for KV entries are the flow's (spec flow8 section 13). `secrets` are texts of secret entries that the step
    read, which must not stand in a log; `secret_args` names the args that read one, however short. `collected` is
    what the steps that an aggregator names put out.
    """

    company_id: str
    flow_id: str
    play_id: str
    ref: str
    idempotency_key: str
    attempt: int
    now: datetime
    seed: str = ""
    group_id: str | None = None
    kv_inherit: bool = True
    kv_conflict: KvConflict = "child"
    secrets: frozenset[str] = frozenset()
    secret_args: frozenset[str] = frozenset()
    collected: Sequence[Any] = ()
    depth: int = 0  # how many plays stand above this one
    retries: int = 0  # how often the play was retried; attempts count anew after each
    started_by: str = ""  # who started the play, or the first of those above it


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What modules with effects work with; made once per executor process."""

    http: aiohttp.ClientSession
    kv: Entries
    storage: Storage
    plays: Plays
    now: Callable[[], datetime]
    monotonic_s: Callable[[], float]


class Module(Generic[A]):
    """A unit of work. Subclass PureModule or EffectModule, never this."""

    app_id: ClassVar[str]
    docs: ClassVar[str]
    Args: ClassVar[type[msgspec.Struct]]
    args_example: ClassVar[dict[str, Any]]
    out_example: ClassVar[Any]
    pure: ClassVar[bool]
    version: ClassVar[int] = 1
    # Args whose `{{ .field }}` is meant for the module itself, not for the engine (spec flow8 section 17.2, Q33).
    raw_args: ClassVar[frozenset[str]] = frozenset()
    # What it works with, of COMPONENTS: shown to people who choose a module.
    required_components: ClassVar[frozenset[str]] = frozenset()
    # Args that stand in the output, as they are or changed: a secret KV entry cannot be read in them (ADR 38).
    shown_args: ClassVar[frozenset[str]] = frozenset()
    # Args that only people read: a secret KV entry reads as `***` in them.
    veiled_args: ClassVar[frozenset[str]] = frozenset()
    # Whether it can run in a process of its own; only pure modules can, for the others work with `Services`.
    isolated: ClassVar[bool] = False

    def shown(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return what of the args, not evaluated yet, stands in the output."""
        return {name: args[name] for name in self.shown_args if name in args}


class PureModule(Module[A]):
    """Same args, same result, no I/O, done in microseconds: its steps share one commit (D6)."""

    pure = True

    def evaluate(self, args: A, step: Step) -> Any:
        """Return the output, or a Wait. Raises ModuleFailed or ModuleSkipped."""
        raise TypeError(f"{type(self).__name__} does not say what it evaluates")


class EffectModule(Module[A]):
    """Touches the world: the step is durable before it starts and after it ended (D6)."""

    pure = False

    def run(self, args: A, step: Step, services: Services) -> Awaitable[Any]:
        """Return the output. Raises ModuleFailed or ModuleSkipped; is cancelled at the step's timeout."""
        raise TypeError(f"{type(self).__name__} does not say what it runs")

    async def after_play(self, company_id: str, play_id: str, services: Services) -> None:
        """Clean up after a play that ran this module and has ended; may be called twice, or not at all (a crash)."""
