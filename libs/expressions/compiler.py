"""A syntax tree to nested closures: compiled once, evaluated in fractions of a microsecond per part."""

from collections.abc import Callable, Mapping
from typing import Any

from libs.expressions.errors import ExpressionError, Fault
from libs.expressions.function import Function
from libs.expressions.functions import FUNCTIONS
from libs.expressions.nodes import Call, Dot, Literal, Node, Path, Prev, Variable
from libs.expressions.objects import MEMBERS, SCOPELESS
from libs.expressions.scope import VIRTUAL_FIELDS, Frame, StepView
from libs.expressions.values import step

Evaluate = Callable[[Frame], Any]
ANY_REF = "*"  # in `refs`: the expression reads `$prev` as a whole


class Reads:
    """What compiled expressions read from outside; filled while compiling."""

    def __init__(self) -> None:
        self.refs: set[str] = set()
        self.state_refs: set[str] = set()
        self.kv_keys: set[tuple[Any, ...]] = set()


class Compiler:
    """Compiles the trees of one text.

    `path` is the text's place in the value around it, for messages and for `$rand`. `scoped` is whether there is a
    scope, `dotted` whether `.` stands for something, `variables` maps the template variables in sight to their
    place in `Frame.variables`.
    """

    def __init__(
        self,
        text: str,
        reads: Reads,
        *,
        path: str = "",
        scoped: bool = True,
        dotted: bool = False,
    ) -> None:
        self.text = text
        self.reads = reads
        self.path = path
        self.scoped = scoped
        self.dotted = dotted
        self.variables: Mapping[str, int] = {}
        self.parts = 0  # compiled so far: what one pass of a loop costs

    def compile(self, node: Node) -> Evaluate:
        """The closure that evaluates `node`; raises ExpressionError for what can never be evaluated."""
        self.parts += 1
        match node:
            case Literal(value=value):
                return lambda _: value
            case Dot():
                self._demand(
                    self.dotted, "there is no current value here; read a step with $prev.<ref>", node
                )
                return lambda frame: frame.dot
            case Variable(name=name):
                return self._variable(name, node)
            case Prev():
                return self._prev(node)
            case Path():
                return self._path(node)
            case Call():
                return self._call(node)
            case _:
                raise AssertionError(node)

    def error(self, message: str, at: int) -> ExpressionError:
        """An error at an offset of this text."""
        return ExpressionError(message, position=at, text=self.text, path=self.path)

    def _demand(self, fulfilled: bool, message: str, node: Node) -> None:
        if not fulfilled:
            raise self.error(message, node.at)

    def _variable(self, name: str, node: Node) -> Evaluate:
        self._demand(name in self.variables, f"there is no variable ${name[:40]}", node)
        place = self.variables[name]
        return lambda frame: frame.variables[place]

    def _prev(self, node: Node) -> Evaluate:
        self._demand(self.scoped, "$prev is not available here", node)
        self.reads.refs.add(ANY_REF)
        return lambda frame: {ref: _whole(step_) for ref, step_ in frame.scope.prev.items()}

    def _path(self, node: Path) -> Evaluate:
        if isinstance(node.base, Prev):
            return self._prev_path(node)
        keys = node.keys
        if isinstance(node.base, Dot) and len(keys) == 1:
            self._demand(
                self.dotted, f"nothing has a field {keys[0]} here; read a step with $prev.<ref>", node
            )
            key = keys[0]

            def field(frame: Frame) -> Any:
                dot = frame.dot
                return dot.get(key) if type(dot) is dict and type(key) is str else step(dot, key)

            return field
        base = self.compile(node.base)
        return lambda frame: _walk(base(frame), keys)

    def _prev_path(self, node: Path) -> Evaluate:
        self._demand(self.scoped, "$prev is not available here", node)
        ref, *rest = node.keys
        if not isinstance(ref, str):
            raise self.error("$prev has refs, not indexes", node.at)
        # One thing under two names (flow8 section 7).
        name = "args" if ref == "input" else ref
        if name != "args":
            self.reads.refs.add(name)
            if rest and rest[0] in ("state", "error"):
                self.reads.state_refs.add(name)
        if not rest:
            return lambda frame: _whole(frame.scope.prev.get(name))
        first, keys = rest[0], tuple(rest[1:])
        if first in VIRTUAL_FIELDS:
            return lambda frame: _walk(_field(frame.scope.prev.get(name), str(first)), keys)
        return _step_reader(name, tuple(rest))

    def _call(self, node: Call) -> Evaluate:
        function = FUNCTIONS.get(node.name) or MEMBERS[node.name]
        self._demand(self._reachable(node.name), f"{node.name} is not available here", node)
        if node.name.startswith("$kv."):
            self._note_key(node)
        run = function.run
        if function.seeded:
            run = _seeded(run, f"{self.path}\0{node.at}")
        evaluate = self._bound(function, run, tuple([self.compile(arg) for arg in node.args]), node.at)
        if node.name == "$q.jsonParse" and isinstance(node.args[0], Literal):
            return self._constant(evaluate)
        return evaluate

    def _reachable(self, name: str) -> bool:
        return self.scoped or not name.startswith("$") or name.partition(".")[0] in SCOPELESS

    def _note_key(self, node: Call) -> None:
        names = [arg.value for arg in node.args if isinstance(arg, Literal)]
        if len(names) != len(node.args) or not all(isinstance(name, str) for name in names):
            return
        scope = (None, None) if len(names) == 1 else names[:2]
        self.reads.kv_keys.add((node.name.removeprefix("$kv."), *scope, names[-1]))

    def _constant(self, evaluate: Evaluate) -> Evaluate:
        # How a value is written into an expression for a module: it must not be parsed for each element.
        try:
            value = evaluate(Frame(None))
        except ExpressionError:
            return evaluate  # it fails where it is evaluated, and perhaps it never is
        return lambda _: value

    def _bound(
        self, function: Function, run: Callable[..., Any], args: tuple[Evaluate, ...], at: int
    ) -> Evaluate:
        """The call itself; the arities that occur most are written out because a `*` costs as much as a call."""
        if function.lazy:
            return lambda frame: run(frame, *args)
        error = self.error

        def call(frame: Frame) -> Any:
            try:
                return run(frame, *[arg(frame) for arg in args])
            except Fault as fault:
                raise error(str(fault), at) from fault

        if len(args) not in (1, 2):
            return call
        first, second = args[0], args[-1]

        def call_with_one(frame: Frame) -> Any:
            try:
                return run(frame, first(frame))
            except Fault as fault:
                raise error(str(fault), at) from fault

        def call_with_two(frame: Frame) -> Any:
            try:
                return run(frame, first(frame), second(frame))
            except Fault as fault:
                raise error(str(fault), at) from fault

        return call_with_one if len(args) == 1 else call_with_two


def _seeded(run: Callable[..., Any], place: str) -> Callable[..., Any]:
    def draw(frame: Frame, *args: Any) -> Any:
        # A template's loop comes by more than once: the count keeps its draws apart.
        frame.draws += 1
        return run(frame, f"{frame.scope.seed}\0{place}\0{frame.draws}", *args)

    return draw


def _whole(entry: Any) -> Any:
    return entry.whole if type(entry) is StepView else entry


def _field(entry: Any, name: str) -> Any:
    return entry.virtual(name) if type(entry) is StepView else step(entry, name)


def _step_reader(name: str, keys: tuple[str | int, ...]) -> Evaluate:
    def read(frame: Frame) -> Any:
        value = frame.scope.prev.get(name)
        if type(value) is StepView:
            value = value.out
        for key in keys:  # as in _walk; this is what flows do most
            if type(value) is dict and type(key) is str:
                value = value.get(key)
            elif type(value) is list and type(key) is int:
                value = value[key] if key < len(value) else None
            else:
                value = step(value, key)
        return value

    return read


def _walk(value: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        # The two common steps stand here; a call would double the price of a path.
        if type(value) is dict and type(key) is str:
            value = value.get(key)
        elif type(value) is list and type(key) is int:
            value = value[key] if key < len(value) else None
        else:
            value = step(value, key)
    return value
