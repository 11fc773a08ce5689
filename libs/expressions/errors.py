"""What an expression may answer instead of a value.

ExpressionError   the text is no expression, or this scope gives it no value      the flowlet fails, without retry
NeedsValue        an outside value is missing from the scope                       fetch it, evaluate again
Fault             a function objects; its call turns it into an ExpressionError    never leaves this package
PatternError      the text is no regular expression (a Fault)                      modules may catch it
"""

from libs.expressions.limits import EXCERPT_CHARS_MAX


class ExpressionError(Exception):
    """An expression that cannot be compiled or evaluated; the message never holds an evaluated value.

    `position` is the offset in the whole text, `source` the text around it, `path` the place of that text
    inside the compiled value (`headers.accept`, `items[0]`, empty for the value itself).
    """

    def __init__(self, message: str, *, position: int = 0, text: str = "", path: str = "") -> None:
        self.message = message
        self.position = position
        self.path = path
        self.source = text[max(0, position - EXCERPT_CHARS_MAX) : position + EXCERPT_CHARS_MAX]
        where = f" in {path}" if path else ""
        super().__init__(f"{message}, at position {position}{where} of: {self.source}")


class NeedsValue(Exception):
    """Evaluation needs the KV entry `key`, which `scope.kv` does not hold yet.

    `key` is `("get", None, None, name)`, `("getGlobal", None, None, name)` or
    `("getScoped", scope, scope_key, name)`. Put the value (None when there is none) and evaluate again.
    """

    def __init__(self, key: tuple[str, str | None, str | None, str]) -> None:
        self.key = key
        super().__init__(f"the KV entry {key[3]!r} is not in scope yet")


class Fault(Exception):
    """A function's objection, without its place."""


class PatternError(Fault):
    """A text that is no regular expression."""
