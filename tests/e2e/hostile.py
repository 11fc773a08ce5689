"""What people with bad intentions send: bytes on a socket, and what came back."""

import asyncio
import json
from collections.abc import Mapping
from typing import NamedTuple

from tests.e2e.api import Json
from tests.waiting import WITHIN_S


class Heard(NamedTuple):
    """What a server answered to raw bytes; status 0 when it closed the connection without a word."""

    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> Json:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code, in the envelope of either surface."""
        error = self.json["error"]
        return str(error["code"] if isinstance(error, dict) else error)


async def send(port: int, data: bytes, *, within_s: float = WITHIN_S) -> Heard:
    """Send bytes to a port and return the first answer. Fails when neither an answer nor an end comes in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(within_s):
            writer.write(data)
            return await heard(reader)
    except ConnectionError:
        # Closed while we were still talking.
        return Heard(0, b"", b"")
    finally:
        writer.close()


async def heard(reader: asyncio.StreamReader) -> Heard:
    """Return the first answer on a connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(value) for name, value in fields(head) if name == b"content-length"), 0)
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return Heard(0, b"", b"")
    return Heard(int(head.split()[1]), head, body)


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer, names in lower case."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
    return [(name.strip().lower(), value.strip()) for name, _, value in lines]


def request(
    line: bytes,
    *headers: bytes,
    body: bytes | None = None,
    length: int | None = None,
    host: bytes = b"Host: x",
) -> bytes:
    """Return the bytes of a request; `length` is what it says of its body, when that is not the truth."""
    told = len(body or b"") if length is None else length
    sized = () if body is None and length is None else (b"Content-Length: %d" % told,)
    return b"\r\n".join([line + b" HTTP/1.1", host, *headers, *sized, b"", body or b""])


# Whatever of this a decoder accepts, nothing of it may crash; sizes stay below what a body may have.
BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "half": b'{"name": "x',
    "a list": b"[]",
    "null": b"null",
    "a number": b"-0",
    "deep lists": b"[" * 100_000,
    "deep inside": b'{"name": "x", "args": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    "deep and closed": b'{"key": "x", "value": ' + b"[" * 101 + b"]" * 101 + b"}",
    "a huge exponent": b'{"name": "x", "args": {"n": 1e999}, "value": 1e999, "by": 1e999, "key": "x"}',
    "a huge integer": b'{"name": "x", "index": %s, "args": {"n": %s}}' % (b"9" * 4_000, b"9" * 4_000),
    "an integer of 65 bits": b'{"name": "x", "index": 18446744073709551616, "by": 18446744073709551616}',
    "NaN": b'{"name": "x", "args": {"n": NaN}, "value": Infinity, "key": "x"}',
    "NUL": b'{"name": "\\u0000", "key": "\\u0000", "email": "\\u0000@x.test", "layerId": "\\u0000"}',
    "NUL inside": b'{"name": "x", "args": {"\\u0000": 1}, "key": "x", "value": {"\\u0000": 1}}',
    "a real NUL": b'{"name": "a\x00b"}',
    "no UTF-8": b'{"name": "\xff\xfe", "key": "\xc3\x28", "email": "\xff"}',
    "a lone surrogate": b'{"name": "\\ud800", "key": "\\udfff", "email": "\\ud800@x.test", "note": "\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "equal keys": b'{"name": "a", "name": {"b": 1}, "name": [], "key": 1, "key": 2}',
    "prototype": b'{"__proto__": {"role": "admin"}, "constructor": {"prototype": {}}, "companyId": "x"}',
    "many keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(20_000)) + b"}",
    "a long name": b'{"name": "' + b"x" * 500_000 + b'", "email": "' + b"x" * 100_000 + b'@x.test"}',
    "wrong kinds": b'{"name": {}, "key": [], "email": 1, "role": [], "scopes": 7, "args": 3, "layerId": {}}',
    "SQL": b'{"name": "\'; drop table flows; --", "key": "\' or 1=1 --", "email": "\'@x.test"}',
    "subjects": b'{"name": "x", "key": "*.>", "flowId": "*", "groupId": ">", "layerId": "*.>", "scopeKey": ">"}',
    "expressions": b'{"name": "{{ repeat 1000000000 `x` }}", "key": "${7*7}", "ref": "../../x"}',
}

# Requests that are wrong as such. They must be refused or the connection closed; none is a success.
MALFORMED: Mapping[str, bytes] = {
    "no HTTP": b"GARBAGE\r\n\r\n",
    "HTTP/9.9": b"GET /api/health HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32 + b"\r\n\r\n",
    "NUL in the method": b"GE\x00T /api/health HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the path": b"GET /api/he alth HTTP/1.1\r\nHost: x\r\n\r\n",
    "negative length": request(b"POST /api/flows", length=-1),
    "length in words": b"POST /api/flows HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n{}",
    "plus length": b"POST /api/flows HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
    "two lengths": request(b"POST /api/flows", b"Content-Length: 3", body=b"{}"),
    "length and chunks": request(b"POST /api/flows", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "unknown coding": request(b"POST /api/flows", b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked is not last": request(b"POST /api/flows", b"Transfer-Encoding: chunked, identity")
    + b"0\r\n\r\n",
    "a chunk of no number": request(b"POST /api/flows", b"Transfer-Encoding: chunked")
    + b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": request(b"POST /api/flows", b"Transfer-Encoding: chunked") + b"-1\r\n{}\r\n0\r\n\r\n",
    "an endless chunk line": request(b"POST /api/flows", b"Transfer-Encoding: chunked")
    + b"1;"
    + b"a" * 200_000,
    "a chunk that goes on": request(b"POST /api/flows", b"Transfer-Encoding: chunked")
    + b"1\r\n{}\r\n0\r\n\r\n",
    "space before the colon": request(b"POST /api/flows", b"X : a", body=b"{}"),
    "a folded header": request(b"GET /api/flows", b"X: a\r\n b"),
    "NUL in a header": request(b"GET /api/flows", b"X: a\x00b"),
    "a bare CR in a header": request(b"GET /api/flows", b"X: a\rY: b"),
    "no name": request(b"GET /api/flows", b": a"),
    "a long header": request(b"GET /api/flows", b"X: " + b"x" * 100_000),
    "a thousand headers": request(b"GET /api/flows", *(b"X-%d: x" % n for n in range(1_000))),
    "a long path": request(b"GET /" + b"x" * 100_000),
    "a long query": request(b"GET /api/flows?category=" + b"x" * 100_000),
    "a long method": request(b"X" * 20_000 + b" /api/flows"),
    "a tunnel": request(b"CONNECT example.test:443"),
    "the server itself": request(b"OPTIONS *"),
    "an echo": request(b"TRACE /api/auth/me"),
    "an unknown expectation": request(b"POST /api/flows", b"Expect: tea", body=b"{}"),
}

# Paths that try to be somewhere else, to split the answer, or to reach the bus's wildcards.
PATHS = (
    b"/../../../../etc/passwd",
    b"/api/flows/../../etc/passwd",
    b"/api/flows/..%2f..%2fusers",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/docs/../../app.py",
    b"/docs%2f..%2f..%2fapp.py",
    b"/api//flows",
    b"//api/flows",
    b"/api/flows/",
    b"/API/flows",
    b"/api/flows;x=1",
    b"/api\\flows",
    b"/api/flows/%00",
    b"/api/flows/%ff",
    b"/api/flows/%2F",
    b"/api/flows/%0d%0aX-Injected:%20yes",
    b"/api/plays/*",
    b"/api/plays/%3E",
    b"/api/plays/*.%3E/layers",
    b"/api/plays/" + b"0" * 23,
    b"/api/plays/" + b"0" * 5_000,
    b"/api/plays/%F0%9F%92%A9",
    b"/api/kv/%27%20or%201=1",
    b"/api/flows/${7*7}",
    b"/api/v1/oauth/%0d%0aX-Injected:%20yes",
    b"/api/v1/profile/..%2f..",
    b"/jobs/../../etc/passwd",
    b"http://evil.test/nowhere",
)
