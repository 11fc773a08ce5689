"""`headrace tap`: the events of the bus as JSON lines, read from the log, so that none is missed or told twice."""

import argparse
import asyncio
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from libs.cli.client import Json
from libs.cli.errors import OK, UNREACHABLE, USAGE, CommandFailed
from libs.cli.output import Printer
from libs.cli.places import Places
from libs.common import log, subjects
from libs.common.bus import Bus, Stored
from libs.common.clock import SystemClock
from libs.common.codec import company_of
from libs.common.config import Config
from libs.common.errors import HeadraceError, PayloadLost, Unavailable
from libs.common.messages.payload import PayloadRef
from libs.common.payloads import Payloads

CONNECT_S_MAX = 5.0
READ_PAGE_MESSAGES = 256
RETRY_S = 1.0
ANY = "*"
_PLAYS = re.compile(r"PLAYS_\d+")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


async def tap(arguments: argparse.Namespace) -> int:
    """Print events until `--count` of them were, or until interrupted."""
    tokens = [_token(name, getattr(arguments, name)) for name in ("company", "flow", "play", "state")]
    log.configure(service="cli", instance="tap", level="error")
    printer = Printer.on_stdout("json")
    told = 0
    url = Places(os.environ).nats_url()
    try:
        bus = await Bus.connect(url, name="headrace-tap", deadline_s=CONNECT_S_MAX)
    except HeadraceError as error:
        raise CommandFailed(f"cannot reach the bus: {error.message}", UNREACHABLE) from error
    payloads = Payloads(bus, SystemClock(), inline_bytes_max=Config().payload_inline_bytes_max)
    try:
        async with aclosing(_events(bus, ".".join(tokens), arguments.since)) as events:
            async for event in events:
                printer.entry(await _whole(payloads, event) if arguments.resolve else event)
                told += 1
                if told == arguments.count:
                    break
    except HeadraceError as error:
        raise CommandFailed(f"the bus does not answer: {error.message}", UNREACHABLE) from error
    finally:
        await bus.close()
    return OK


async def _events(bus: Bus, tokens: str, since: int | None) -> AsyncGenerator[Json, None]:
    """Yield events as they are in the log; live messages only ring, so a lost one loses nothing."""
    streams = await _streams(bus)
    bell = asyncio.Event()
    bus.on_reconnected(bell.set)
    await bus.subscribe(f"live.play.*.{tokens}", lambda _: bell.set())
    following = {name: since or await bus.last_sequence(name) + 1 for name in streams}
    bell.set()
    while True:
        await bell.wait()
        bell.clear()
        for name in streams:
            shard = name.removeprefix("PLAYS_")
            try:
                async for stored in _stored(bus, name, f"evt.play.{shard}.{tokens}", following[name]):
                    for event in events_of(stored, name):
                        yield event
                    following[name] = stored.sequence + 1
            except Unavailable:
                # The server is away for a moment; what it holds is read when it is back.
                asyncio.get_running_loop().call_later(RETRY_S, bell.set)


async def _stored(bus: Bus, stream: str, filter_: str, following: int) -> AsyncGenerator[Stored, None]:
    while page := await bus.load_page(stream, filter_, since=following, limit=READ_PAGE_MESSAGES):
        for stored in page:
            yield stored
        following = page[-1].sequence + 1


def events_of(stored: Stored, stream: str) -> list[Json]:
    """Return the CloudEvents of a commit as they are on the wire, with where they stand as extensions."""
    batch = msgspec.json.decode(stored.data)
    place = {"stream": stream, "sequence": str(stored.sequence)}
    return [{**event, **place} for event in batch]


async def _whole(payloads: Payloads, event: Json) -> Json:
    """Return an event with its big values in their places; one that is gone stays a reference."""
    data = event.get("data")
    refs = data.get("payloads") if isinstance(data, dict) else None
    if not refs:
        return event
    company_id = company_of(event["source"])
    whole = {name: value for name, value in data.items() if name != "payloads"}
    try:
        for name, ref in refs.items():
            value = await payloads.read(company_id, msgspec.convert(ref, PayloadRef))
            whole[name] = msgspec.json.decode(value)
    except PayloadLost:
        return event
    return {**event, "data": whole}


async def _streams(bus: Bus) -> list[str]:
    answer = await bus.api("STREAM.NAMES", {"offset": 0})
    names = sorted(name for name in answer.get("streams") or () if _PLAYS.fullmatch(name))
    if not names:
        raise Unavailable(f"it holds no stream {subjects.plays_stream(0)}; is it a bus of Headrace?")
    return names


def _token(name: str, given: str | None) -> str:
    if given is None:
        return ANY
    if _TOKEN.fullmatch(given) is None:
        raise CommandFailed(f"--{name}: {given} is no id and no word", USAGE)
    return given
