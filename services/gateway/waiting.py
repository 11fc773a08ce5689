"""How long a caller wants to wait for an answer: `?wait=` or `Prefer: wait=` (RFC 7240), in seconds."""

from aiohttp import web

from libs.common.errors import Invalid

WAIT_S_MAX = 60.0
NUMBER_CHARS_MAX = 12


def wait_s_of(request: web.BaseRequest) -> float:
    """Return the seconds to wait, 0 when none are asked for; the query wins over the header.

    Raises Invalid for what is no number, or not between 0 and WAIT_S_MAX.
    """
    if "?" in request.raw_path:
        given = request.query.get("wait")
        if given is not None:
            return _seconds(given, "wait")
    prefer = request.headers.get("Prefer")
    return 0.0 if prefer is None else _preferred(prefer)


def _preferred(header: str) -> float:
    for preference in header.replace(";", ",").split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":
            return _seconds(value.strip().strip('"'), "Prefer: wait")
    return 0.0


def _seconds(text: str, name: str) -> float:
    plain = text.replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit()) or len(text) > NUMBER_CHARS_MAX or float(text) > WAIT_S_MAX:
        raise Invalid(f"{name}: expected seconds, from 0 to {WAIT_S_MAX:g}")
    return float(text)
