"""The functions that compute numbers; numeric strings count as numbers."""

import math
import operator
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from libs.expressions.errors import Fault
from libs.expressions.function import Function, number, whole
from libs.expressions.limits import COUNTED_WORK_BYTES, ROUND_DIGITS_MAX
from libs.expressions.scope import Frame
from libs.expressions.values import kind_of, settle

_DIGITS = Context(prec=2 * ROUND_DIGITS_MAX + 2)


def _arithmetic(
    run: Callable[..., int | float], plain: Callable[[int, int], int] | None = None
) -> Callable[..., Any]:
    def bounded(_: Frame, *values: Any) -> int | float:
        try:
            if plain and len(values) == 2 and type(values[0]) is int and type(values[1]) is int:
                return settle(plain(values[0], values[1]))
            return settle(run(*values))
        except OverflowError as error:
            raise Fault("the number is not finite") from error

    return bounded


def _or_zero(value: Any) -> Any:
    # The first run of a counter reads a KV entry that does not exist yet.
    return 0 if value is None else value


def _add(*values: Any) -> int | float:
    return sum(number("add", _or_zero(value)) for value in values)


def _sub(a: Any, b: Any) -> int | float:
    return number("sub", _or_zero(a)) - number("sub", _or_zero(b))


def _mul(*values: Any) -> int | float:
    product: int | float = 1
    for value in values:
        product = settle(product * number("mul", value))
    return product


def _div(a: Any, b: Any) -> int | float:
    dividend, divisor = number("div", a), number("div", b)
    if divisor == 0:
        raise Fault("division by zero")
    if type(dividend) is int and type(divisor) is int and dividend % divisor == 0:
        return dividend // divisor
    return dividend / divisor


def _mod(a: Any, b: Any) -> int | float:
    dividend, divisor = number("mod", a), number("mod", b)
    if divisor == 0:
        raise Fault("division by zero")
    if type(dividend) is int and type(divisor) is int:
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest  # the sign of the dividend, as in Go
    return math.fmod(dividend, divisor)


def _round(value: Any, digits: Any = 0) -> int | float:
    places = whole("round", digits)
    if not 0 <= places <= ROUND_DIGITS_MAX:
        raise Fault(f"round keeps 0 to {ROUND_DIGITS_MAX} digits")
    given = settle(number("round", value))
    if type(given) is int or abs(given) >= 10**ROUND_DIGITS_MAX:
        return given
    # By its decimal digits and half away from zero, as people round: 2.675 is 2.68.
    return float(Decimal(repr(given)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _DIGITS))


def _floor(value: Any) -> int:
    return math.floor(number("floor", value))


def _ceil(value: Any) -> int:
    return math.ceil(number("ceil", value))


def _extreme(name: str, pick: Callable[[list[int | float]], int | float]) -> Callable[..., Any]:
    def run(frame: Frame, *values: Any) -> int | float | None:
        given = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        frame.spend(len(given) * COUNTED_WORK_BYTES)
        numbers = [number(name, value) for value in given]
        return settle(pick(numbers)) if numbers else None

    return run


def _sum(frame: Frame, values: Any) -> int | float:
    if values is None:
        return 0
    if not isinstance(values, list):
        raise Fault(f"sum needs a list, not {kind_of(values)}")
    frame.spend(len(values) * COUNTED_WORK_BYTES)
    try:
        return settle(sum(number("sum", _or_zero(value)) for value in values))
    except OverflowError as error:
        raise Fault("the number is not finite") from error


ARITHMETIC: dict[str, Function] = {
    "add": Function(_arithmetic(_add, operator.add), 2, None),
    "sub": Function(_arithmetic(_sub, operator.sub), 2, 2),
    "mul": Function(_arithmetic(_mul, operator.mul), 2, None),
    "div": Function(_arithmetic(_div), 2, 2),
    "mod": Function(_arithmetic(_mod), 2, 2),
    "round": Function(_arithmetic(_round), 1, 2),
    "floor": Function(_arithmetic(_floor), 1, 1),
    "ceil": Function(_arithmetic(_ceil), 1, 1),
    "abs": Function(_arithmetic(lambda value: abs(number("abs", value))), 1, 1),
    "min": Function(_extreme("min", min), 1, None),
    "max": Function(_extreme("max", max), 1, None),
    "sum": Function(_sum, 1, 1),
    "toNumber": Function(_arithmetic(lambda value: number("toNumber", value)), 1, 1),
}
