"""Arguments of a tool against its schema, in time that is linear in their size (JSON Schema 2020-12)."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from libs.common.errors import Invalid
from libs.common.messages.channel import ChannelRoute
from libs.expressions.errors import PatternError
from libs.expressions.regex import compile_pattern

OPEN_SCHEMA: dict[str, Any] = {"type": "object", "additionalProperties": True}
CHECKS_KEPT_MAX = 4_096
MESSAGE_CHARS_MAX = 500


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _compiled(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        compiled = _compiled(pattern)
        for name, value in instance.items():
            if compiled.search(name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise Invalid(f"the tool's inputSchema has a pattern that cannot be searched for: {error}") from error


# Patterns are somebody's input, and so is what they search: the usual engine may search for ever.
_KEYWORDS = {"pattern": _pattern, "patternProperties": _pattern_properties}
_Checker: Any = extend(Draft202012Validator, _KEYWORDS)  # type: ignore[no-untyped-call]


class ArgumentChecks:
    """The checks of tools, each made once for each version of its schema."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[dict[str, Any] | None, Any]] = OrderedDict()

    def check(self, tool: ChannelRoute, args: dict[str, Any]) -> None:
        """Raise Invalid naming the argument that does not fit."""
        if tool.input_schema is None:
            return
        known = self._known.get(tool.id)
        if known is None or known[0] != tool.input_schema:
            # An empty registry fetches nothing, whatever a schema refers to.
            known = self._known[tool.id] = (
                tool.input_schema,
                _Checker(tool.input_schema, registry=Registry()),
            )
            if len(self._known) > CHECKS_KEPT_MAX:
                self._known.popitem(last=False)
        try:
            wrong: ValidationError | None = next(iter(known[1].iter_errors(args)), None)
        except RecursionError as error:
            raise Invalid("the arguments are nested too deeply") from error
        if wrong is not None:
            place = ".".join(map(str, wrong.absolute_path)) or "arguments"
            raise Invalid(f"{place}: {wrong.message[:MESSAGE_CHARS_MAX]}")
