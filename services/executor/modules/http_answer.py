"""An HTTP answer as a step's output: read within a limit, decoded as asked."""

import codecs
import re
from base64 import b64encode
from typing import Any, Literal

import aiohttp
import msgspec

from services.executor.modules.contract import ModuleFailed
from services.executor.modules.nesting import nests_too_deep

RESPONSE_BYTES_MAX = 16 * 1024 * 1024
CHUNK_BYTES = 256 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Encodings of text; Python knows others (idna, punycode, unicode_escape) that a stranger must not choose.
_TEXT_CODEC = re.compile(r"utf-(8|16|32).*|ascii|iso8859.*|cp\d+|gb.*|big5.*|euc.*|shift.*|koi8.*|mac-.*")


async def read_bounded(response: aiohttp.ClientResponse, origin: str) -> bytes:
    """Return the whole body, unpacked. Raises ModuleFailed when it has more than RESPONSE_BYTES_MAX."""
    if "Content-Encoding" not in response.headers and (response.content_length or 0) > RESPONSE_BYTES_MAX:
        raise _too_large(response, origin)
    content = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        content += chunk
        if len(content) > RESPONSE_BYTES_MAX:
            raise _too_large(response, origin)
    return bytes(content)


def body_of(
    content: bytes, response: aiohttp.ClientResponse, response_type: Literal["json", "text", "binary"]
) -> Any:
    """Return the body as asked: JSON falls back to text, binary is base64."""
    if response_type == "binary":
        return b64encode(content).decode()
    text = _text(content, response)
    if response_type == "text":
        return text
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return text if nests_too_deep(value) else value


def headers_of(response: aiohttp.ClientResponse) -> dict[str, str | list[str]]:
    """Return the headers with lower-case names, repeated ones joined; `set-cookie`, which cannot be, as a list."""
    joined: dict[str, str | list[str]] = {}
    for name in {key.lower(): None for key in response.headers}:
        # Bytes that are no UTF-8 arrive as lone surrogates, which no JSON can hold.
        values = [
            value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            for value in response.headers.getall(name)
        ]
        joined[name] = values if name == "set-cookie" else ", ".join(values)
    return joined


def _too_large(response: aiohttp.ClientResponse, origin: str) -> ModuleFailed:
    # What is still to come would otherwise be read to free the connection.
    response.close()
    return ModuleFailed(
        f"curl: the answer of {origin} has more than {RESPONSE_BYTES_MAX:,} bytes", final=True
    )


def _text(content: bytes, response: aiohttp.ClientResponse) -> str:
    charset = response.charset
    if charset is None:
        return content.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")
    try:
        codec = codecs.lookup(charset).name
    except (LookupError, ValueError):
        codec = "utf-8"
    known = codec if _TEXT_CODEC.fullmatch(codec) else "utf-8"
    return content.removeprefix(_BYTE_ORDER_MARK if known == "utf-8" else b"").decode(known, "replace")
