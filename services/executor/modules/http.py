"""HTTP calls: the module `curl` (spec flow8 section 17.3, override 2)."""

import asyncio
import re
from base64 import b64encode
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import Meta, Struct, field
from multidict import CIMultiDict
from yarl import URL

from services.executor.modules.contract import EffectModule, Module, ModuleFailed, Services, Step
from services.executor.modules.http_answer import body_of, headers_of, read_bounded
from services.executor.modules.http_failures import failure_of, origin_of
from services.executor.modules.language import text_of

TIMEOUT_S_DEFAULT = 30.0
TIMEOUT_S_MAX = 3600.0
REDIRECTS_MAX = 10
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
# Answers that may be another one when they are asked again (RFC 9110 section 15).
PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
URL_CHARS_MAX = 8192

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110 section 5.6.2
_HEADER_BREAK = re.compile(r"[\r\n\0]")
# They describe this connection, not the call: copied from an incoming request they would break the next one on it.
_CONNECTION_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class BasicAuth(Struct, frozen=True, kw_only=True):
    """A user and a password."""

    user: str
    password: str = field(name="pass")


class Credentials(NamedTuple):
    """Who calls; at most one of both."""

    basic: BasicAuth | None
    bearer: str | None


Query = Annotated[
    dict[str, Any],
    Meta(description="Parameters added to the url's query; a list repeats its name, null sends nothing."),
]


class CurlArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `curl`."""

    url: Annotated[str, Meta(description="An `http` or `https` address.")]
    method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
        Meta(description="The HTTP method."),
    ] = "GET"
    query: Query = {}
    headers: Annotated[
        dict[str, Any], Meta(description="Names and values; a null value sends no header.")
    ] = {}
    body: Annotated[
        Any, Meta(description="Text is sent as it is, anything else as JSON, null not at all.")
    ] = None
    body_form: Annotated[
        dict[str, Any] | None, Meta(description="Fields sent urlencoded; a list repeats its field.")
    ] = None
    timeout: Annotated[
        float, Meta(ge=0, le=TIMEOUT_S_MAX, description="Seconds for the whole call; 0 is the default.")
    ] = TIMEOUT_S_DEFAULT
    follow_redirects: Annotated[bool, Meta(description=f"Follow up to {REDIRECTS_MAX} redirects.")] = True
    response_type: Annotated[
        Literal["json", "text", "binary"],
        Meta(description="How `body` is read: JSON (text when it is none), text, or base64."),
    ] = "json"
    fail_on_status: Annotated[
        bool,
        Meta(description="A status of 400 or above fails the step; 408, 425, 429 and 5xx can be retried."),
    ] = False
    basic_auth: Annotated[BasicAuth | None, Meta(description="Sent as `Authorization: Basic`.")] = None
    bearer_token: Annotated[str | None, Meta(description="Sent as `Authorization: Bearer`.")] = None


class Curl(EffectModule[CurlArgs]):
    """One HTTP call."""

    app_id = "curl"
    docs = (
        "Makes an HTTP call. Any answer is a success, whatever its status code: filter on `$prev.<ref>.statusCode`, or "
        "have `failOnStatus` fail the step. No answer fails it, a timeout with the code `TIMEOUT`. A call that may "
        "change something carries the header `Idempotency-Key`, the same on every attempt, unless `headers` sets one. "
        "Only public addresses can be reached, and what `HEADRACE_OUTBOUND_ALLOW` names. Header names in the output "
        "are lower-case; `set-cookie` is a list."
    )
    Args = CurlArgs
    required_components = frozenset({"request"})
    args_example = {
        "method": "POST",
        "url": "https://api.example.com/orders",
        "headers": {"X-Source": "headrace"},
        "body": {"sku": "A-1", "quantity": 2},
        "timeout": 10,
    }
    out_example = {
        "statusCode": 201,
        "body": {"id": 7, "sku": "A-1"},
        "headers": {"content-type": "application/json; charset=utf-8"},
        "duration": 84,
    }

    async def run(self, args: CurlArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return status code, body, headers and duration in milliseconds."""
        url = url_of(self.app_id, args.url, args.query)
        data, content_type = _payload(args)
        credentials = Credentials(args.basic_auth, args.bearer_token)
        headers = headers_to_send(self.app_id, args.headers, url, credentials)
        if content_type:
            headers.setdefault("Content-Type", content_type)
        if args.method not in SAFE_METHODS:
            headers.setdefault("Idempotency-Key", step.idempotency_key)
        timeout_s = args.timeout or TIMEOUT_S_DEFAULT
        started_s = services.monotonic_s()
        try:
            async with (
                asyncio.timeout(timeout_s),
                services.http.request(
                    args.method,
                    url.with_user(None),
                    headers=headers,
                    data=data,
                    allow_redirects=args.follow_redirects,
                    max_redirects=REDIRECTS_MAX + 1,  # aiohttp gives up at this many, not after them
                ) as response,
            ):
                content = await read_bounded(response, origin_of(url))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure_of(error, f"{args.method} {origin_of(url)}", timeout_s=timeout_s) from error
        if args.fail_on_status and response.status >= 400:
            raise refused(self.app_id, origin_of(url), response.status)
        return {
            "statusCode": response.status,
            "body": body_of(content, response, args.response_type),
            "headers": headers_of(response),
            "duration": round((services.monotonic_s() - started_s) * 1000),
        }


def refused(app_id: str, origin: str, status: int) -> ModuleFailed:
    """Return the failure of a step whose call was answered with this status; final when a repeat cannot help."""
    return ModuleFailed(
        f"{app_id}: {origin} answered with status {status}", final=status not in PASSING_STATUSES
    )


def url_of(app_id: str, text: str, query: dict[str, Any]) -> URL:
    """Return an address that can be called, these parameters added. Raises ModuleFailed, which does not repeat it."""
    if len(text) > URL_CHARS_MAX:
        raise ModuleFailed(f"{app_id}: a url has at most {URL_CHARS_MAX} characters", final=True)
    try:
        url = URL(text.strip())
        url.port  # noqa: B018  a port out of range is found only when it is read
    except ValueError as error:
        # The text is not repeated: it may hold a password.
        raise ModuleFailed(f"{app_id}: the url cannot be read", final=True) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModuleFailed(f"{app_id}: the url needs http:// or https:// and a host", final=True)
    url = url.extend_query(_pairs(query)) if query else url
    if len(str(url)) > URL_CHARS_MAX:
        raise ModuleFailed(
            f"{app_id}: a url with its query has at most {URL_CHARS_MAX} characters", final=True
        )
    return url


def _payload(args: CurlArgs) -> tuple[bytes | None, str | None]:
    """Return what is sent, and its content type."""
    if args.body_form is not None:
        if args.body is not None:
            raise ModuleFailed("curl: give body or bodyForm, not both", final=True)
        return urlencode(_pairs(args.body_form, null="")).encode(), "application/x-www-form-urlencoded"
    if args.body is None:
        return None, None
    if isinstance(args.body, str):
        return args.body.encode(), "text/plain; charset=utf-8"
    return msgspec.json.encode(args.body), "application/json"


def _pairs(fields: dict[str, Any], *, null: str | None = None) -> list[tuple[str, str]]:
    """Return names and texts, a list as its name repeated; `null` is what stands for null, None: nothing."""
    return [
        (name, text_of(value) if value is not None else null or "")
        for name, values in fields.items()
        for value in (values if isinstance(values, list) else [values])
        if value is not None or null is not None
    ]


def headers_to_send(
    app_id: str, given: dict[str, Any], url: URL, credentials: Credentials
) -> CIMultiDict[str]:
    """Return the headers of a call, `Authorization` included. Raises ModuleFailed for what cannot be one."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ModuleFailed(f"{app_id}: {name!r} is no header name", final=True)
        if isinstance(value, list | dict):
            raise ModuleFailed(f"{app_id}: the header {name} needs a text", final=True)
        if value is not None and name.lower() not in _CONNECTION_HEADERS:
            headers[name] = text_of(value)
    authorization = _authorization(app_id, credentials, url)
    if authorization:
        headers["Authorization"] = authorization
    for name, value in headers.items():
        if _HEADER_BREAK.search(value):
            raise ModuleFailed(f"{app_id}: the header {name} holds a line break", final=True)
    return headers


def _authorization(app_id: str, credentials: Credentials, url: URL) -> str:
    if credentials.bearer is not None:
        if credentials.basic is not None:
            raise ModuleFailed(f"{app_id}: give basicAuth or bearerToken, not both", final=True)
        return f"Bearer {credentials.bearer}"
    user, password = url.user or "", url.password or ""
    if credentials.basic is not None:
        user, password = credentials.basic.user, credentials.basic.password
    elif not (user or password):
        return ""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


MODULES: tuple[type[Module[Any]], ...] = (Curl,)
