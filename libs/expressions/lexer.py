"""Text to tokens: one action, from behind its `{{` to its `}}`."""

import re
from typing import Literal as OneOf
from typing import NamedTuple

from libs.expressions.errors import ExpressionError
from libs.expressions.hints import for_sign
from libs.expressions.limits import EXPRESSION_CHARS_MAX

Kind = OneOf["number", "string", "name", "object", "field", "mark", "end"]

OPEN, CLOSE = "{{", "}}"
BLANKS = " \t\r\n"
# A hyphen joins two parts of a field, so that `headers.content-type` needs no brackets.
FIELD = r"\w+(?:-\w+)*"

_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t\r\n]+)
    | (?P<end>-?\}\})
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*'|`[^`]*`)
    | (?P<name>[^\W\d]\w*)
    | (?P<object>\$(?:[^\W\d]\w*)?)
    | \.(?P<field>FIELD)
    | (?P<mark>:=|[()\[\]|,=.])
    """.replace("FIELD", FIELD),
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0",
    "\\": "\\", '"': '"', "'": "'", "`": "`", "/": "/",
}  # fmt: skip
_TOO_LONG = f"an expression has at most {EXPRESSION_CHARS_MAX} characters"
_COMMENT = re.compile(r"(?:-[ \t\r\n]+)?/\*.*?\*/[ \t\r\n]*(-?\}\})", re.DOTALL)


class Token(NamedTuple):
    """A token: a string's text is its value, a field's is its name; `glued` when no blank stands before it."""

    kind: Kind
    text: str
    at: int
    glued: bool


class Action(NamedTuple):
    """The tokens of `{{ … }}`, the last of kind "end"; where the text goes on; on which sides blanks are cut."""

    tokens: list[Token]
    end: int
    trims_before: bool
    trims_after: bool
    is_comment: bool = False


def read_action(text: str, at: int) -> Action:
    """The action whose `{{` stands at `at`; a comment (`{{/* … */}}`) has only its end token.

    Raises ExpressionError for one that is too long, is not closed, or holds what is no token.
    """
    inside = at + len(OPEN)
    trims_before = text.startswith("-", inside) and text[inside + 1 : inside + 2] in tuple(BLANKS)
    comment = _COMMENT.match(text, inside)
    if comment:
        end = Token("end", comment[1], comment.start(1), glued=False)
        return Action([end], comment.end(), trims_before, comment[1].startswith("-"), is_comment=True)
    tokens = _tokens(text, inside + trims_before)
    last = tokens[-1]
    if not last.text:
        raise ExpressionError("the expression is not closed with }}", position=at, text=text)
    return Action(tokens, last.at + len(last.text), trims_before, last.text.startswith("-"))


def read_bare(text: str) -> list[Token]:
    """The tokens of an expression without braces. Raises ExpressionError as `read_action`, and for a `}}`."""
    tokens = _tokens(text, 0)
    if tokens[-1].text:
        raise ExpressionError("}} without {{", position=tokens[-1].at, text=text)
    return tokens


def _tokens(text: str, at: int) -> list[Token]:
    """Up to and including `}}`, or an empty end token where the text ends."""
    tokens: list[Token] = []
    glued = False
    match = _TOKEN.match
    start = at
    while at < len(text):
        if at - start > EXPRESSION_CHARS_MAX:
            raise ExpressionError(_TOO_LONG, position=start, text=text)
        found = match(text, at)
        if found is None:
            raise ExpressionError(_objection(text, at), position=at, text=text)
        kind, end = found.lastgroup, found.end()
        if kind == "blank":
            glued = False
        else:
            shown = found[kind or 0]
            if kind == "string":
                shown = _string(shown, at, text)
            tokens.append(Token(kind, shown, at, glued))  # type: ignore[arg-type]
            if kind == "end":
                return tokens
            glued = True
        at = end
    tokens.append(Token("end", "", len(text), glued))
    return tokens


def _objection(text: str, at: int) -> str:
    if text[at] in "\"'`":
        return "the string is not closed"
    return for_sign(text, at) or f"unexpected {text[at]!r}"


def _string(quoted: str, at: int, text: str) -> str:
    inside = quoted[1:-1]
    if quoted[0] == "`" or "\\" not in inside:
        return inside

    def replaced(escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) == 1 and code in _ESCAPED:
            return _ESCAPED[code]
        value = int(code[1:], 16) if len(code) > 1 else -1
        # Half of a surrogate pair is no character and could not be encoded later.
        if not 0 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            position = at + 1 + escape.start()
            raise ExpressionError(
                f"unknown escape {escape[0]}; use `…` for raw text", position=position, text=text
            )
        return chr(value)

    return _ESCAPE.sub(replaced, inside)
