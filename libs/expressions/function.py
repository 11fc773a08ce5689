"""What a function of the language is, and how functions take their arguments and pay for their work."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from libs.expressions.errors import Fault
from libs.expressions.scope import Frame
from libs.expressions.values import NESTED, json_text, kind_of, number_of, settle, stringify

Piped = Literal["first", "last"]
Later = Callable[[Frame], Any]  # an argument that is evaluated only when it is wanted


class Function(msgspec.Struct, frozen=True):
    """A function: `run(frame, *args)` with `least` to `most` arguments (None: any number).

    `piped` says where `x | f` puts x. A `lazy` function gets its arguments as `Later`, a `seeded` one gets a seed
    as its second argument.
    """

    run: Callable[..., Any]
    least: int
    most: int | None
    piped: Piped = "first"
    lazy: bool = False
    seeded: bool = False


def text(frame: Frame, value: Any) -> str:
    """The canonical string of an argument, its length paid for."""
    shown = stringify(value)
    frame.spend(len(shown))
    return shown


def number(name: str, value: Any) -> int | float:
    """A numeric argument, numeric strings included. Raises Fault, which names the function, for any other."""
    found = number_of(value)
    if found is None:
        detail = "a string that is no number" if isinstance(value, str) else kind_of(value)
        raise Fault(f"{name} needs numbers, not {detail}")
    return found


def whole(name: str, value: Any) -> int:
    """An integral argument. Raises Fault, which names the function, for any other."""
    found = settle(number(name, value))
    if type(found) is not int:
        raise Fault(f"{name} needs a whole number")
    return found


def weight(value: Any) -> int:
    """About how many characters are looked at when a value is."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, NESTED):
        return len(json_text(value))
    return 1


def paid(frame: Frame, made: str) -> str:
    """A text that was made, its length paid for."""
    frame.spend(len(made))
    return made
