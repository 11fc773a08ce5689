"""Downloads: the module `wget` (spec flow8 section 17.3), from the outside straight to the storage."""

import asyncio
import re
from typing import Annotated, Any
from urllib.parse import unquote

import aiohttp
from msgspec import Meta, Struct
from yarl import URL

from libs.common.errors import Invalid, NotFound, Refused, TooLarge
from services.executor.modules.contract import EffectModule, Module, ModuleFailed, Services, Step
from services.executor.modules.http import (
    REDIRECTS_MAX,
    TIMEOUT_S_DEFAULT,
    TIMEOUT_S_MAX,
    BasicAuth,
    Credentials,
    Query,
    headers_to_send,
    refused,
    url_of,
)
from services.executor.modules.http_answer import CHUNK_BYTES
from services.executor.modules.http_failures import failure_of, origin_of
from services.executor.modules.storage import BINARY, mime_type_of

_FILE_NAME_FALLBACK = "download"


class WgetArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `wget`."""

    url: Annotated[str, Meta(description="An `http` or `https` address.")]
    query: Query = {}
    path: Annotated[
        str,
        Meta(
            description="Where to save; empty or a folder (`downloads/`): under the name the url ends with."
        ),
    ] = ""
    headers: Annotated[
        dict[str, Any], Meta(description="Names and values; a null value sends no header.")
    ] = {}
    timeout: Annotated[
        float, Meta(ge=0, le=TIMEOUT_S_MAX, description="Seconds for the whole download; 0 is the default.")
    ] = TIMEOUT_S_DEFAULT
    follow_redirects: Annotated[bool, Meta(description=f"Follow up to {REDIRECTS_MAX} redirects.")] = True
    basic_auth: Annotated[BasicAuth | None, Meta(description="Sent as `Authorization: Basic`.")] = None
    bearer_token: Annotated[str | None, Meta(description="Sent as `Authorization: Bearer`.")] = None


class Wget(EffectModule[WgetArgs]):
    """A file from the outside."""

    app_id = "wget"
    docs = (
        "Downloads a file into the storage, over whatever file was there. The file is there whole or not at all. Any "
        "status but 2xx fails the step; so does an answer above `HEADRACE_STORAGE_FILE_BYTES_MAX`. The rules of `curl` "
        "on addresses, redirects and credentials hold."
    )
    Args = WgetArgs
    shown_args = frozenset({"path"})
    required_components = frozenset({"request", "storage"})
    args_example = {"url": "https://files.example.com/reports/today.csv", "path": "reports/today.csv"}
    out_example = {"path": "reports/today.csv", "size": 16, "mimeType": "text/csv"}

    async def run(self, args: WgetArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return path, size in bytes and type."""
        url = url_of(self.app_id, args.url, args.query)
        path = _path(args.path, url)
        timeout_s = args.timeout or TIMEOUT_S_DEFAULT
        headers = headers_to_send(
            self.app_id, args.headers, url, Credentials(args.basic_auth, args.bearer_token)
        )
        try:
            async with (
                asyncio.timeout(timeout_s),
                services.http.get(
                    url.with_user(None),
                    headers=headers,
                    allow_redirects=args.follow_redirects,
                    max_redirects=REDIRECTS_MAX + 1,  # aiohttp gives up at this many, not after them
                ) as response,
            ):
                size = await _save(response, path, origin_of(url), step, services)
        except (Invalid, NotFound, Refused, TooLarge) as error:
            raise ModuleFailed(f"wget: {error.message}", code=error.code, final=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure_of(error, f"GET {origin_of(url)}", timeout_s=timeout_s) from error
        kind = response.content_type if "Content-Type" in response.headers else mime_type_of(path)
        return {"path": path, "size": size, "mimeType": mime_type_of(path) if kind == BINARY else kind}


async def _save(
    response: aiohttp.ClientResponse, path: str, origin: str, step: Step, services: Services
) -> int:
    if not 200 <= response.status < 300:
        raise refused("wget", origin, response.status)
    file_bytes_max = services.storage.file_bytes_max
    if "Content-Encoding" not in response.headers and (response.content_length or 0) > file_bytes_max:
        response.close()
        raise TooLarge(f"the answer of {origin} has more than {file_bytes_max:,} bytes")
    async with services.storage.draft(step.company_id, path) as draft:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            await draft.write(chunk)
    return draft.bytes


def _path(path: str, url: URL) -> str:
    if path and not path.endswith("/"):
        return path
    # What the url is called must not lead anywhere else.
    name = re.sub(r"[\x00-\x1f\x7f/\\]", "_", unquote(url.raw_name)).strip()
    return path + (name if name not in ("", ".", "..") else _FILE_NAME_FALLBACK)


MODULES: tuple[type[Module[Any]], ...] = (Wget,)
