"""Errors become answers here, and only here (spec flow8 section 2)."""

from typing import NamedTuple

import msgspec
import structlog
from aiohttp import web

from libs.common import ids, newer
from libs.common.codec import UnknownType
from libs.common.errors import HeadraceError, TooLarge, Unauthorized, Unavailable
from services.gateway import answers
from services.gateway.routing import MethodNotAllowed
from services.gateway.throttle import Throttled

RETRY_AFTER_S = 1
CRASHED = "something went wrong on our side; it was logged"

log = structlog.get_logger(__name__)


class Problem(msgspec.Struct, frozen=True, rename="camel"):
    """The body of every answer that is an error."""

    error: str
    message: str
    status_code: int


class Told(NamedTuple):
    """What is said of an error, whatever the envelope; `error_id` names the report in our log, if there is one."""

    status: int
    code: str
    message: str
    headers: dict[str, str]
    error_id: str = ""


def told(error: Exception, *, route: str) -> Told:
    """Return what to say of anything a handler raised; what nobody foresaw is logged and says nothing of itself."""
    if isinstance(error, UnknownType):
        newer.note(error, what="request", subject=route, sequence=0)
        error = Unavailable("a newer release wrote what this request is about")
    match error:
        case HeadraceError():
            if error.status < 500:
                return Told(error.status, error.code, error.message, _headers_of(error))
            error_id = ids.new_id()
            log.warning(
                "request_failed", route=route, error=error.code, reason=error.message, error_id=error_id
            )
            return Told(error.status, error.code, error.message, _headers_of(error), error_id)
        case web.HTTPRequestEntityTooLarge():
            return Told(TooLarge.status, TooLarge.default_code, "the request body is too large", {})
        case web.HTTPException():
            return Told(error.status, _code_of(error.status), error.text or error.reason, {})
        case OverflowError():
            # msgspec writes integers of 64 bits only; what checks miss shows when a message is encoded.
            return Told(400, "VALIDATION_ERROR", "an integer does not fit in 64 bits", {})
        case _:
            error_id = ids.new_id()
            log.error("request_crashed", route=route, exc_info=error, error_id=error_id)
            return Told(500, "INTERNAL_ERROR", CRASHED, {}, error_id)


def to_response(error: Exception, *, route: str) -> web.Response:
    """Return the answer for anything a handler raised."""
    said = told(error, route=route)
    return _answer(said.status, said.code, said.message, said.headers)


def malformed(status: int, message: str) -> web.Response:
    """Return the answer to what is not even HTTP."""
    return _answer(status, _code_of(status), message, {})


def _headers_of(error: HeadraceError) -> dict[str, str]:
    match error:
        case MethodNotAllowed():
            return {"Allow": error.allow}
        case Throttled():
            return {"Retry-After": str(error.retry_after_s)}
        case Unavailable():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}


def _code_of(status: int) -> str:
    codes = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    if status in codes:
        return codes[status]
    return "VALIDATION_ERROR" if status < 500 else "INTERNAL_ERROR"


def _answer(status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
    return answers.reply(Problem(code, message, status), status=status, headers=headers)
