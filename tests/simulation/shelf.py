"""The store of KV entries in a simulated world: it answers executors as the real one does, and is away at times.

`moving` and `token` (a secret) have another value each time they are read; so whoever reads twice is found out. Other
entries are what plays made of them.
"""

import itertools
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from libs.common.errors import Problem, Unavailable
from libs.common.messages.kv import (
    AnyKvCommand,
    AnyKvQuery,
    AppendKv,
    IncrementKv,
    KvOpened,
    KvReadings,
    KvView,
    KvWanted,
    KvWish,
    OpenKv,
    ReadKvForStep,
)
from libs.common.messages.query import Reply
from tests.simulation.clockwork import EPOCH
from tests.simulation.network import Weather

MOVING, TOKEN = "moving", "token"
# As the store: an entry knows its last writers.
APPLIED_MAX = 16

_query = msgspec.json.Decoder(AnyKvQuery)
_command = msgspec.json.Decoder(AnyKvCommand)


class Shelf:
    """The entries of the world's one company. `away` is how likely a question is not answered well."""

    def __init__(self, random: Random, weather: Weather, *, away: float) -> None:
        self.values: dict[str, Any] = {}
        self.applied: dict[str, list[str]] = {}
        self.secrets: list[str] = []
        self.refused = 0
        self._sealed: dict[str, tuple[str, tuple[KvOpened, ...]]] = {}
        self._numbers = itertools.count(1)
        self._random = random
        self._weather = weather
        self._away = away

    def ask(self, data: bytes) -> bytes | None:
        """Answer a question; None when the answer is lost."""
        query = _query.decode(data)
        if self._is_away():
            return self._nothing()
        match query:
            case ReadKvForStep():
                opened = tuple(self._opened(wanted) for wanted in query.wanted)
                sealed = f"sealed {next(self._numbers)}"
                self._sealed[sealed] = (query.step, opened)
                return _reply(KvReadings(opened=opened, sealed=sealed))
            case OpenKv():
                return _reply(KvReadings(opened=tuple(self._unsealed(query.step, query.sealed))))
            case _:
                raise AssertionError(f"nobody asks {type(query).__name__} here")

    def tell(self, data: bytes) -> bytes | None:
        """Obey a command, once for each id; the answer may be lost after it was obeyed."""
        command = _command.decode(data)
        if self._is_away():
            return self._nothing()
        assert isinstance(command, KvWish)
        applied = self.applied.setdefault(command.key, [])
        if command.id not in applied[-APPLIED_MAX:]:
            applied.append(command.id)
            self._grow(command)
        if self._is_away():
            return None
        entry = KvView(
            id="e",
            company_id=command.company_id,
            scope="global",
            scope_key=None,
            key=command.key,
            value=self.values[command.key],
            secret=False,
            created_at=EPOCH,
            updated_at=EPOCH,
        )
        return _reply({"entry": entry, "created": False})

    def _grow(self, command: KvWish) -> None:
        match command:
            case IncrementKv():
                self.values[command.key] = self.values.get(command.key, 0) + command.amount
            case AppendKv():
                self.values[command.key] = [*self.values.get(command.key, []), command.value]
            case _:
                raise AssertionError(f"nobody wishes {type(command).__name__} here")

    def _opened(self, wanted: KvWanted) -> KvOpened:
        if wanted.key == TOKEN:
            self.secrets.append(f"secret-{next(self._numbers):06}")
            return KvOpened(wanted=wanted, value=self.secrets[-1], secret=True)
        value = next(self._numbers) if wanted.key == MOVING else self.values.get(wanted.key)
        return KvOpened(wanted=wanted, value=value)

    def _unsealed(self, step: str, sealed: Iterable[str]) -> Iterable[KvOpened]:
        for one in sealed:
            of, opened = self._sealed[one]
            assert of == step, f"what {of} read is opened for {step}"
            yield from opened

    def _is_away(self) -> bool:
        away = not self._weather.calm and self._random.random() < self._away
        self.refused += away
        return away

    def _nothing(self) -> bytes | None:
        """Say nothing, that it cannot be said now, or what only another release can read."""
        chance = self._random.random()
        if chance < 0.4:
            return None
        if chance < 0.6:
            return _reply(["of", "another", "release"])
        return msgspec.json.encode(Reply(problem=Problem.of(Unavailable("the database is away"))))


def _reply(answer: Any) -> bytes:
    return msgspec.json.encode(Reply(data=msgspec.Raw(msgspec.json.encode(answer))))
