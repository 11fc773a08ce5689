"""Tokens to a syntax tree, with one grammar for expressions and templates.

    pipeline = command { "|" command }
    command  = function { operand } | operand
    operand  = ( literal | "(" pipeline ")" | "." | ".field" | "$object" | "$variable" ) { ".field" | "[" key "]" }

Fields and brackets belong to what they touch: `f .a .b` has two arguments, `f .a.b` one.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn

from libs.expressions.errors import ExpressionError, Fault
from libs.expressions.function import Function
from libs.expressions.functions import FUNCTIONS
from libs.expressions.hints import for_name, for_sign
from libs.expressions.lexer import Token
from libs.expressions.limits import EXPRESSION_DEPTH_MAX, NUMBER_CHARS_MAX
from libs.expressions.nodes import Call, Dot, Literal, Node, Path, Prev, Variable
from libs.expressions.objects import MEMBERS, OBJECTS
from libs.expressions.values import settle

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "nil": None}
_KEYWORDS = frozenset(
    {"if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"}
)
_KV_CALLS = frozenset({"get", "getGlobal", "getScoped"})
_ENDS = frozenset({")", "]", "|", ",", ":=", "="})


class Parser:
    """Parses the tokens of one action of `text`; `variables` allows `$x` and `$`."""

    def __init__(self, text: str, tokens: list[Token], *, variables: bool = False) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self._nesting = 0
        self._variables = variables

    def whole(self) -> Node:
        """The pipeline that is everything left."""
        first = self.token
        if first.kind == "end":
            self._fail("an expression is missing", first)
        node = self.pipeline()
        if self.token.kind != "end":
            self._unexpected(self.token)
        return node

    @property
    def token(self) -> Token:
        """The token to come."""
        return self._tokens[self._next]

    def take(self) -> Token:
        """The token to come, passed."""
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def takes(self, kind: str, text: str) -> bool:
        """Whether this very token came, and is passed."""
        token = self._tokens[self._next]
        if token.kind != kind or token.text != text:
            return False
        self._next += 1
        return True

    def peek(self, ahead: int) -> Token:
        """A later token; the end token when there are not so many."""
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def pipeline(self) -> Node:
        """`command | command …` as nested calls."""
        node = self._command(None)
        while self.takes("mark", "|"):
            node = self._command(node)
        return node

    def _command(self, piped: Node | None) -> Node:
        head = self.token
        name = self._function_name()
        if name is not None:
            return self._call(name, self._arguments(), head, piped)
        operand = self._operand()
        if piped is not None:
            self._fail("behind | stands a function", head)
        if self._at_operand():
            self._fail("only a function takes arguments", self.token)
        return operand

    def _function_name(self) -> str | None:
        """The name of a function or of a member that is called here, its tokens passed."""
        token = self.token
        if token.kind == "name" and token.text not in _CONSTANTS:
            if token.text not in FUNCTIONS:
                self._unknown(token.text, FUNCTIONS.keys(), token, "function")
            self.take()
            return token.text
        if token.kind != "object" or token.text in ("$kv", "$prev") or token.text not in OBJECTS:
            return self._kv_call()
        member = self.peek(1)
        if member.kind != "field" or not member.glued or f"{token.text}.{member.text}" not in MEMBERS:
            return None
        if self._is_below(self.peek(2)):
            return None
        self._next += 2
        return f"{token.text}.{member.text}"

    def _kv_call(self) -> str | None:
        member = self.peek(1)
        if (
            self.token.kind == "object"
            and self.token.text == "$kv"
            and member.kind == "field"
            and member.text in _KV_CALLS
            and member.glued
        ):
            self._next += 2
            return f"$kv.{member.text}"
        return None

    def _arguments(self) -> list[Node]:
        args: list[Node] = []
        while self._at_operand():
            before, token = self._tokens[self._next - 1], self.token
            if token.glued and "(" not in (before.text, token.text) and before.text != ")":
                self._fail("a blank is missing between two arguments", token)
            args.append(self._operand())
        return args

    def _at_operand(self) -> bool:
        token = self.token
        return token.kind != "end" and not (token.kind == "mark" and token.text in _ENDS)

    def _operand(self) -> Node:
        token = self.take()
        match token.kind:
            case "number":
                node: Node = Literal(at=token.at, value=self._number(token))
            case "string":
                node = Literal(at=token.at, value=token.text)
            case "name" if token.text in _CONSTANTS:
                node = Literal(at=token.at, value=_CONSTANTS[token.text])
            case "name" if token.text in FUNCTIONS:
                node = self._call(token.text, [], token, None)
            case "name":
                self._unknown(token.text, FUNCTIONS.keys(), token, "function")
            case "field":
                node = self._path(Dot(at=token.at), [token.text], token)
            case "object":
                node = self._object(token)
            case "mark" if token.text == ".":
                node = Dot(at=token.at)
            case "mark" if token.text == "(":
                node = self._parenthesis(token)
            case _:
                self._unexpected(token)
        return self._below(node, token)

    def _parenthesis(self, token: Token) -> Node:
        self._nesting += 1
        if self._nesting > EXPRESSION_DEPTH_MAX:
            self._fail(f"parentheses nest at most {EXPRESSION_DEPTH_MAX} deep", token)
        node = self.pipeline()
        if not self.takes("mark", ")"):
            if self.token.text == ",":
                self._unexpected(self.token)
            self._fail("the parenthesis is not closed", token)
        self._nesting -= 1
        return node

    def _object(self, token: Token) -> Node:
        if token.text == "$prev":
            return Prev(at=token.at)
        if token.text == "$kv":
            return self._kv_entry(token)
        if token.text in MEMBERS:
            return self._call(token.text, [], token, None)
        if token.text in OBJECTS:
            return self._member(token)
        if self._variables:
            return Variable(at=token.at, name=token.text[1:])
        return self._unknown(token.text, OBJECTS, token, "object")

    def _member(self, token: Token) -> Node:
        member = self.take()
        if member.kind != "field" or not member.glued:
            self._fail(f"{token.text} needs a member: {_members(token.text)}", token)
        name = f"{token.text}.{member.text}"
        if name not in MEMBERS:
            self._fail(f"{token.text} has no member {member.text}, only {_members(token.text)}", member)
        return self._call(name, [], token, None)

    def _kv_entry(self, token: Token) -> Node:
        """`$kv.key` and `$kv["key"]` are `$kv.get "key"`."""
        keys = self._keys()
        if not keys or not isinstance(keys[0], str):
            self._fail('$kv needs a key: $kv.name, $kv["name"] or $kv.get "name"', token)
        entry = self._call("$kv.get", [Literal(at=token.at, value=keys[0])], token, None)
        return self._path(entry, keys[1:], token)

    def _below(self, node: Node, token: Token) -> Node:
        if isinstance(node, Literal) and self._is_below(self.token):
            self._fail("a literal has no fields", self.token)
        return self._path(node, self._keys(), token)

    def _path(self, base: Node, keys: list[str | int], token: Token) -> Node:
        if not keys:
            return base
        if isinstance(base, Path):
            return Path(at=base.at, depth=base.depth, base=base.base, keys=(*base.keys, *keys))
        return Path(at=token.at, depth=self._depth(base.depth, token), base=base, keys=tuple(keys))

    def _is_below(self, token: Token) -> bool:
        return token.glued and (token.kind == "field" or (token.kind == "mark" and token.text == "["))

    def _keys(self) -> list[str | int]:
        keys: list[str | int] = []
        while self._is_below(self.token):
            token = self.take()
            keys.append(token.text if token.kind == "field" else self._bracket())
        return keys

    def _bracket(self) -> str | int:
        token = self.take()
        key: str | int | None = None
        if token.kind == "string":
            key = token.text
        elif token.kind == "number":
            number = self._number(token)
            key = number if isinstance(number, int) and number >= 0 else None
        if key is None:
            self._fail('in brackets stands a number from 0 or a "key"; use index for anything else', token)
        if not self.takes("mark", "]"):
            self._fail("the bracket is not closed", token)
        return key

    def _number(self, token: Token) -> int | float:
        digits = token.text
        try:
            return settle(
                int(digits)
                if digits.lstrip("-").isdecimal() and len(digits) <= NUMBER_CHARS_MAX
                else float(digits)
            )
        except Fault as fault:
            raise ExpressionError(str(fault), position=token.at, text=self._text) from fault

    def _call(self, name: str, args: list[Node], token: Token, piped: Node | None) -> Call:
        function = FUNCTIONS.get(name) or MEMBERS[name]
        if piped is not None:
            args = [piped, *args] if function.piped == "first" else [*args, piped]
        if len(args) < function.least or (function.most is not None and len(args) > function.most):
            hint = "" if args else f"; inside a call write ({name} …)"
            self._fail(f"{name} takes {_arity(function)}, not {len(args)}{hint}", token)
        below = max([arg.depth for arg in args], default=0)
        return Call(at=token.at, depth=self._depth(below, token), name=name, args=tuple(args))

    def _depth(self, below: int, token: Token) -> int:
        if below >= EXPRESSION_DEPTH_MAX:
            self._fail(f"an expression nests at most {EXPRESSION_DEPTH_MAX} deep", token)
        return below + 1

    def _unknown(self, name: str, known: Iterable[str], token: Token, what: str) -> NoReturn:
        if name in _KEYWORDS:
            self._fail(f"{name} belongs to the template module; use ternary here", token)
        meant = for_name(name) or next(iter(get_close_matches(name, list(known), 1)), "")
        hint = f"; did you mean {meant}?" if meant else ""
        self._fail(f"there is no {what} {name[:40]}{hint}", token)

    def _unexpected(self, token: Token) -> NoReturn:
        if token.kind == "end":
            self._fail("the expression ends too early", token)
        if token.text == ",":
            self._fail("arguments stand one behind the other, without commas", token)
        doubled = self._text[token.at - 1 : token.at + 1] == "||"
        operator = for_sign(self._text, token.at - doubled) if doubled or token.text == "=" else ""
        if operator:
            self._fail(operator, token)
        self._fail(f"unexpected {token.text[:40]!r}", token)

    def _fail(self, message: str, token: Token) -> NoReturn:
        raise ExpressionError(message, position=token.at, text=self._text)


def _members(name: str) -> str:
    return ", ".join(member.partition(".")[2] for member in MEMBERS if member.startswith(f"{name}."))


def _arity(function: Function) -> str:
    least, most = function.least, function.most
    if most is None:
        return f"at least {least} argument{'s' if least != 1 else ''}"
    if least == most:
        return f"{least} argument{'s' if least != 1 else ''}"
    return f"{least} to {most} arguments"
