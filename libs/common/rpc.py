"""Requests to the store and their answers: a tagged struct out, a Reply frame back, errors as themselves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog

from libs.common import newer, trace
from libs.common.bus import Bus, Message
from libs.common.codec import UnknownType
from libs.common.connection import ANSWER_BYTES_MAX, Serving
from libs.common.errors import (
    HeadraceError,
    Invalid,
    NobodyListens,
    Problem,
    TooLarge,
    Unanswered,
    Unavailable,
)
from libs.common.messages.query import Reply

T = TypeVar("T")
Handler = Callable[[Any], Awaitable[Any]]

# A service that restarts is back within about a second, on a slow machine within ten; its callers wait for it rather
# than fail.
ASKED_AGAIN_AFTER_S = 0.05
ANSWER_TIMEOUT_S = 10.0
ASKED_AGAIN_MAX = 200

log = structlog.get_logger(__name__)


class _Tagged(msgspec.Struct):
    """What says which request it is."""

    type: str


_decode_tag = msgspec.json.Decoder(_Tagged).decode
_decode_reply = msgspec.json.Decoder(Reply).decode


async def call(
    bus: Bus,
    subject: str,
    request: msgspec.Struct,
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    asked_again_max: int = ASKED_AGAIN_MAX,
    tries: int = 1,
) -> Reply:
    """Send a request and return the answer's frame; a request that found nobody is sent again.

    What changes nothing may have several `tries`: whoever was asked may have died over it, without a word.

    Raises the error that the other side answered with, Unavailable when nobody answers in time, or only what cannot
    be read: another instance may be of the release of whoever asks.
    """
    data = msgspec.json.encode(request)
    headers = {"traceparent": trace.current_traceparent()}
    asked = 0
    while True:
        try:
            message = await bus.request(subject, data, timeout_s=timeout_s, headers=headers)
            break
        except NobodyListens:
            if asked == asked_again_max:
                raise
            asked += 1
            await asyncio.sleep(ASKED_AGAIN_AFTER_S)
        except Unanswered:
            tries -= 1
            if tries <= 0:
                raise
    reply = _read(message.data, _decode_reply, subject)
    if reply.problem is not None:
        raise reply.problem.to_error()
    return reply


async def ask(
    bus: Bus,
    subject: str,
    request: msgspec.Struct,
    kind: type[T],
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    asked_again_max: int = ASKED_AGAIN_MAX,
) -> T:
    """Send a request and return the answer's data as this type; otherwise as `call`."""
    reply = await call(bus, subject, request, timeout_s=timeout_s, asked_again_max=asked_again_max)
    return _read(reply.data, msgspec.json.Decoder(kind).decode, subject)


def _read(data: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T], subject: str) -> T:
    try:
        return decode(data)
    except msgspec.DecodeError as error:
        raise Unavailable(f"the answer on {subject} cannot be read: {error}") from error


async def serve(
    bus: Bus, subject: str, requests: Any, handlers: Mapping[type[msgspec.Struct], Handler], *, queue: str
) -> Serving:
    """Answer the requests of a tagged union `requests` on a subject, each kind by its handler.

    A handler returns the data (a struct, JSON value, or a whole Reply) or raises; a HeadraceError goes back as
    itself, anything else as INTERNAL_ERROR, logged with its trace; an answer that cannot be carried becomes TooLarge.
    """
    decode = msgspec.json.Decoder(requests).decode
    known = {kind.__struct_config__.tag for kind in handlers}

    async def answer(message: Message) -> bytes:
        with trace.continued(f"serve {subject}", message.headers.get("traceparent", "")):
            data = msgspec.json.encode(await _reply(message))
        if len(data) <= ANSWER_BYTES_MAX:
            return data
        log.warning("answer_too_large", subject=subject, bytes=len(data))
        text = (
            f"the answer has {len(data)} bytes, and at most {ANSWER_BYTES_MAX} can be carried: ask for less"
        )
        return msgspec.json.encode(Reply(problem=Problem.of(TooLarge(text))))

    async def _reply(message: Message) -> Reply:
        try:
            request = decode(message.data)
            result = await handlers[type(request)](request)
        except UnknownType as error:
            newer.note(error, what="request", subject=subject, sequence=0)
            return Reply(problem=Problem.of(Unavailable("a newer release wrote what this request is about")))
        except msgspec.DecodeError as error:
            if _tag_of(message.data) not in {None, *known}:
                # Another instance may be of the release of whoever asks.
                return Reply(
                    problem=Problem.of(Unavailable(f"this release does not know the request: {error}"))
                )
            return Reply(problem=Problem.of(Invalid(str(error))))
        except HeadraceError as error:
            return Reply(problem=Problem.of(error))
        except (OSError, TimeoutError) as error:
            log.warning("request_unavailable", subject=subject, error=str(error))
            return Reply(problem=Problem.of(Unavailable("a part this request needs does not answer")))
        except Exception:
            log.exception("request_crashed", subject=subject)
            return Reply(
                problem=Problem(500, "INTERNAL_ERROR", "something went wrong on our side; it was logged")
            )
        return result if isinstance(result, Reply) else Reply(data=msgspec.Raw(msgspec.json.encode(result)))

    return await bus.serve(subject, answer, queue=queue)


def _tag_of(data: bytes) -> str | None:
    """Return which request a message says to be, None when it does not say so."""
    try:
        return _decode_tag(data).type
    except msgspec.DecodeError:
        return None
