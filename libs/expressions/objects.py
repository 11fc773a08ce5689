"""The sandbox objects: `$date`, `$rand`, `$q`, `$kv` and the plain names such as `$flowId` (flow8 section 7)."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from libs.expressions import draws
from libs.expressions.dates import add_days, add_months, date_of, format_date, rfc3339, zone_of
from libs.expressions.errors import Fault, NeedsValue
from libs.expressions.function import Function, number, paid, text, whole
from libs.expressions.scope import Frame
from libs.expressions.texts import base64_decode, from_json, to_json, url_decode, url_encode

_SECONDS = {"addDays": 86_400, "addHours": 3_600, "addMinutes": 60, "addSeconds": 1}


def _moment(frame: Frame, given: tuple[Any, ...]) -> datetime:
    moment: datetime = date_of(given[0]) if given else frame.scope.now
    return moment


def _date_now(frame: Frame) -> str:
    return rfc3339(frame.scope.now)


def _date_format(frame: Frame, layout: Any, *date: Any) -> str:
    zone = zone_of(text(frame, date[1])) if len(date) > 1 else UTC
    return paid(frame, format_date(text(frame, layout), _moment(frame, date), zone))


def _date_unix(frame: Frame, *date: Any) -> int:
    return int(_moment(frame, date).timestamp() // 1)


def _date_adder(member: str) -> Callable[..., str]:
    days = _SECONDS[member] / _SECONDS["addDays"]

    def later(frame: Frame, count: Any, *date: Any) -> str:
        return rfc3339(add_days(_moment(frame, date), number(f"$date.{member}", count) * days))

    return later


def _date_add_months(frame: Frame, months: Any, *date: Any) -> str:
    return rfc3339(add_months(_moment(frame, date), whole("$date.addMonths", months)))


def _rand_int(_: Frame, seed: str, low: Any, high: Any) -> int:
    return draws.integer(seed, whole("$rand.int", low), whole("$rand.int", high))


def _rand_string(_: Frame, seed: str, length: Any) -> str:
    return draws.alphanumeric(seed, whole("$rand.string", length))


def _base64(frame: Frame, value: Any) -> str:
    try:
        return paid(frame, b64encode(text(frame, value).encode()).decode())
    except UnicodeEncodeError as error:
        raise Fault("the text cannot be encoded") from error


def _kv_reader(kind: str) -> Callable[..., Any]:
    def read(frame: Frame, name: Any) -> Any:
        return _entry(frame, (kind, None, None, text(frame, name)))

    return read


def _kv_scoped(frame: Frame, scope: Any, scope_key: Any, name: Any) -> Any:
    return _entry(frame, ("getScoped", text(frame, scope), text(frame, scope_key), text(frame, name)))


def _entry(frame: Frame, key: tuple[str, str | None, str | None, str]) -> Any:
    kv = frame.scope.kv
    if key not in kv:
        raise NeedsValue(key)
    return kv[key]


# The piped value comes last, as Go does it: `$date.addDays 7 | $date.format "2006-01-02"`.
MEMBERS: dict[str, Function] = {
    "$date.now": Function(_date_now, 0, 0, "last"),
    "$date.format": Function(_date_format, 1, 3, "last"),
    "$date.unix": Function(_date_unix, 0, 1, "last"),
    **{f"$date.{member}": Function(_date_adder(member), 1, 2, "last") for member in _SECONDS},
    "$date.addMonths": Function(_date_add_months, 1, 2, "last"),
    "$rand.uuid": Function(lambda _, seed: draws.uuid(seed), 0, 0, "last", seeded=True),
    "$rand.cuid": Function(lambda _, seed: draws.cuid(seed), 0, 0, "last", seeded=True),
    "$rand.int": Function(_rand_int, 2, 2, "last", seeded=True),
    "$rand.string": Function(_rand_string, 1, 1, "last", seeded=True),
    "$q.urlencode": Function(url_encode, 1, 1, "last"),
    "$q.urldecode": Function(url_decode, 1, 1, "last"),
    "$q.base64": Function(_base64, 1, 1, "last"),
    "$q.base64decode": Function(base64_decode, 1, 1, "last"),
    "$q.jsonStringify": Function(to_json, 1, 1, "last"),
    "$q.jsonParse": Function(from_json, 1, 1, "last"),
    "$kv.get": Function(_kv_reader("get"), 1, 1, "last"),
    "$kv.getGlobal": Function(_kv_reader("getGlobal"), 1, 1, "last"),
    "$kv.getScoped": Function(_kv_scoped, 3, 3, "last"),
    "$flowId": Function(lambda frame: frame.scope.flow_id, 0, 0),
    "$playId": Function(lambda frame: frame.scope.play_id, 0, 0),
    "$companyId": Function(lambda frame: frame.scope.company_id, 0, 0),
    "$now": Function(_date_now, 0, 0),
}
OBJECTS = frozenset({"$prev", *(name.partition(".")[0] for name in MEMBERS)})
# Objects that need no scope: they compute from their arguments alone.
SCOPELESS = frozenset({"$q"})
