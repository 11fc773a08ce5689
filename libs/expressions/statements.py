"""One action of a Go template: a keyword, the variables it sets, and a pipeline."""

from typing import NoReturn

import msgspec

from libs.expressions.errors import ExpressionError
from libs.expressions.lexer import Action, Token
from libs.expressions.nodes import Node
from libs.expressions.parser import Parser

_OPENING = frozenset({"if", "range", "with"})
_ALONE = frozenset({"end", "break", "continue"})
_REFUSED = frozenset({"define", "template", "block"})


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """`keyword` is empty for a plain pipeline, `comment`, or as written (`else if`); `names` are without `$`."""

    at: int
    keyword: str = ""
    names: tuple[str, ...] = ()
    operator: str = ""
    node: Node | None = None


def parse_statement(text: str, action: Action) -> Statement:
    """The statement in an action. Raises ExpressionError."""
    first = action.tokens[0]
    if action.is_comment:
        return Statement(at=first.at, keyword="comment")
    if first.kind == "end":
        _fail(text, "an expression is missing", first)
    parser = Parser(text, action.tokens, variables=True)
    keyword = _keyword(text, parser)
    if keyword in _ALONE or keyword == "else":
        if parser.token.kind != "end":
            _fail(text, f"{keyword} stands alone", parser.token)
        return Statement(at=first.at, keyword=keyword)
    names, operator = _assignment(parser, ranges=keyword == "range")
    if keyword and operator == "=":
        _fail(text, f"{keyword} declares variables with :=", first)
    return Statement(at=first.at, keyword=keyword, names=names, operator=operator, node=parser.whole())


def _keyword(text: str, parser: Parser) -> str:
    token = parser.token
    if token.kind != "name" or token.text not in _OPENING | _ALONE | _REFUSED | {"else"}:
        return ""
    if token.text in _REFUSED:
        _fail(text, f"{token.text} is not supported", token)
    parser.take()
    follows = parser.token
    if token.text == "else" and follows.kind == "name" and follows.text in ("if", "with"):
        parser.take()
        return f"else {follows.text}"
    return token.text


def _assignment(parser: Parser, *, ranges: bool) -> tuple[tuple[str, ...], str]:
    """The variables before `:=` or `=`, their tokens passed; none when the action sets none."""
    first = parser.peek(0)
    if first.kind != "object" or len(first.text) == 1:
        return (), ""
    names, ahead = [first.text[1:]], 1
    if ranges and _is_mark(parser.peek(1), ",") and parser.peek(2).kind == "object":
        names.append(parser.peek(2).text[1:])
        ahead = 3
    operator = parser.peek(ahead)
    if not _is_mark(operator, ":=") and not _is_mark(operator, "="):
        return (), ""
    for _ in range(ahead + 1):
        parser.take()
    return tuple(names), operator.text


def _is_mark(token: Token, text: str) -> bool:
    return token.kind == "mark" and token.text == text


def _fail(text: str, message: str, token: Token) -> NoReturn:
    raise ExpressionError(message, position=token.at, text=text)
