"""Why an HTTP call brought no answer, in a sentence that holds no path, query or password."""

import aiohttp
from yarl import URL

from services.executor.modules.contract import ModuleFailed
from services.executor.modules.outbound import OutboundRefused


def origin_of(url: URL) -> str:
    """Return scheme, host and port: the part of a URL that holds no secret."""
    return str(url.origin())


def failure_of(error: Exception, call: str, *, timeout_s: float) -> ModuleFailed:
    """Return the step's failure for an error of aiohttp; `call` names method and origin.

    Final where a repeat cannot help: the address is refused, malformed, or redirects for ever.
    """
    match error:
        case TimeoutError():
            return ModuleFailed(f"{call}: no answer within {timeout_s:g} s", code="TIMEOUT")
        case OutboundRefused():
            return ModuleFailed(f"{call}: {error}", final=True)
        case aiohttp.TooManyRedirects():
            return ModuleFailed(f"{call}: too many redirects", final=True)
        case aiohttp.RedirectClientError():
            return ModuleFailed(f"{call}: it redirects to something that is no http address", final=True)
        case aiohttp.InvalidURL():
            # Its own text repeats the url; the description only says what is wrong with it.
            detail = f": it {error.description}" if error.description else ""
            return ModuleFailed(f"{call}: the url is not valid{detail}", final=True)
        case aiohttp.NonHttpUrlClientError() | UnicodeError():
            return ModuleFailed(f"{call}: the url is not valid", final=True)
        case _:
            return ModuleFailed(f"{call}: {_reason(error)}")


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate does not hold: {_certificate_fault(error)}"
        case aiohttp.ClientConnectorSSLError():
            return "no secure connection could be made"
        case aiohttp.ClientConnectorDNSError():
            return "its host name cannot be resolved"
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "its answer ended early or cannot be unpacked"
        case aiohttp.ClientResponseError():
            return "its answer is not valid HTTP, or a header of it is too long"
        case OSError():
            return f"the connection broke: {error.strerror or type(error).__name__}"
        case _:
            return f"the call failed: {type(error).__name__}"


def _certificate_fault(error: aiohttp.ClientConnectorCertificateError) -> str:
    fault = error.certificate_error
    return getattr(fault, "verify_message", "") or type(fault).__name__
