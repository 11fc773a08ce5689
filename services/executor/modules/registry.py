"""Which modules there are: the built-in ones, and those that installed packages bring (spec flow8 section 17.9).

A package adds modules with an entry point of the group `headrace.modules` that names a Module class, or a function
that returns several.
"""

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeGuard

import msgspec

from libs.common.messages.module import ModuleInfo
from services.executor.modules import (
    arrays,
    control,
    crypto,
    data,
    download,
    http,
    kv,
    log,
    markup,
    storage,
    subflow,
    tables,
    text,
    tokens,
)
from services.executor.modules.args import decode_args, encoded_names, schema_of
from services.executor.modules.contract import COMPONENTS, EffectModule, Module, ModuleFailed, PureModule

ENTRY_POINTS = "headrace.modules"
FAMILIES: tuple[tuple[type[Module[Any]], ...], ...] = (
    control.MODULES,
    subflow.MODULES,
    data.MODULES,
    text.MODULES,
    arrays.MODULES,
    tables.MODULES,
    markup.MODULES,
    crypto.MODULES,
    tokens.MODULES,
    log.MODULES,
    http.MODULES,
    download.MODULES,
    storage.MODULES,
    kv.MODULES,
)
APP_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
APP_ID_CHARS_MAX = 64

__all__ = ["ENTRY_POINTS", "Registry", "decode_args", "info"]


class InvalidModule(Exception):
    """A class that breaks the contract; the message says in what."""


class Registry:
    """The modules of this process by `appId`."""

    def __init__(self, modules: Iterable[type[Module[Any]]]) -> None:
        """Check and collect modules; `cleaning` are those with something to do after a play.

        `unfenced` are the names of those that packages bring and that say nothing of `shown_args`: what is read in
        their args is only masked in what they put out (ADR 38).
        Raises InvalidModule for one that breaks the contract or takes a name twice.
        """
        self._modules: dict[str, Module[Any]] = {}
        for kind in modules:
            module = _checked(kind)
            if module.app_id in self._modules:
                first = type(self._modules[module.app_id])
                raise InvalidModule(
                    f"{_name(kind)} and {_name(first)} both call themselves {module.app_id!r}"
                )
            self._modules[module.app_id] = module
        self.unfenced = tuple(
            app_id for app_id, module in sorted(self._modules.items()) if _is_unfenced(type(module))
        )
        # The module that a step names as its `appId`; None when there is none.
        self.get = self._modules.get
        self.cleaning = tuple(module for module in self._modules.values() if _cleans_up(module))

    @classmethod
    def load(cls, points: Iterable[EntryPoint] | None = None) -> "Registry":
        """Collect the built-in modules and those of installed packages.

        Raises SystemExit with a sentence when a package's module cannot be used: a flow that names it would
        otherwise fail much later.
        """
        found = entry_points(group=ENTRY_POINTS) if points is None else points
        try:
            brought = [kind for point in found for kind in _kinds_of(point)]
            return cls([*(kind for family in FAMILIES for kind in family), *brought])
        except InvalidModule as error:
            raise SystemExit(f"modules: {error}") from error

    def all(self) -> tuple[Module[Any], ...]:
        """Return every module, sorted by its name."""
        return tuple(self._modules[app_id] for app_id in sorted(self._modules))


def _cleans_up(module: Module[Any]) -> TypeGuard[EffectModule[Any]]:
    return isinstance(module, EffectModule) and type(module).after_play is not EffectModule.after_play


def _is_unfenced(kind: type[Module[Any]]) -> bool:
    brought = kind.__module__.partition(".")[0] != __name__.partition(".")[0]
    return brought and not any(
        "shown_args" in vars(each) for each in kind.__mro__[: kind.__mro__.index(Module)]
    )


def info(module: Module[Any]) -> ModuleInfo:
    """Return what an executor announces about a module."""
    return ModuleInfo(
        app_id=module.app_id,
        version=module.version,
        pure=module.pure,
        docs=module.docs,
        args_schema=schema_of(module.Args),
        args_example=module.args_example,
        out_example=module.out_example,
        raw_args=tuple(sorted(module.raw_args)),
        family=type(module).__module__.rpartition(".")[2],
        isolated=module.isolated,
        required_components=tuple(sorted(module.required_components)),
        shown_args=tuple(sorted(module.shown_args)),
    )


def _kinds_of(point: EntryPoint) -> list[type[Module[Any]]]:
    try:
        loaded = point.load()
        brought = loaded if isinstance(loaded, type) else loaded()
        return [brought] if isinstance(brought, type) else list(brought)
    except Exception as error:
        # Foreign code may raise anything; the start ends here with its name and its reason.
        raise InvalidModule(
            f"the entry point {point.name} ({point.value}) cannot be loaded: {error!r}"
        ) from error


def _checked(kind: Any) -> Module[Any]:
    """Return the module, once it keeps the whole contract."""
    if not (isinstance(kind, type) and issubclass(kind, PureModule | EffectModule)):
        raise InvalidModule(f"{kind!r} is no class derived from PureModule or EffectModule")
    missing = [
        name for name in ("app_id", "docs", "Args", "args_example", "out_example") if not hasattr(kind, name)
    ]
    if missing:
        raise InvalidModule(f"{_name(kind)} does not say its {', '.join(missing)}")
    objection = _objection(kind)
    if objection:
        raise InvalidModule(f"{_name(kind)}: {objection}")
    module = kind()
    try:
        decode_args(module, kind.args_example)
        msgspec.json.encode(kind.out_example)
    except (ModuleFailed, TypeError) as error:
        raise InvalidModule(f"{_name(kind)}: its example does not hold: {error}") from error
    return module


def _objection(kind: Any) -> str:
    if not APP_ID.fullmatch(kind.app_id) or len(kind.app_id) > APP_ID_CHARS_MAX:
        return f"app_id {kind.app_id!r} is not in kebab-case of at most {APP_ID_CHARS_MAX} characters"
    if not (isinstance(kind.Args, type) and issubclass(kind.Args, msgspec.Struct)):
        return "Args is not a msgspec.Struct"
    if issubclass(kind, PureModule) and (
        kind.evaluate is PureModule.evaluate or inspect.iscoroutinefunction(kind.evaluate)
    ):
        return "a pure module has a plain method evaluate(args, step)"
    if issubclass(kind, EffectModule) and kind.isolated:
        return "a module with effects cannot be isolated: what it works with is in this process"
    if issubclass(kind, EffectModule) and not inspect.iscoroutinefunction(kind.run):
        return "a module with effects has an async method run(args, step, services)"
    if strange := kind.required_components - COMPONENTS:
        return f"required_components are of {', '.join(sorted(COMPONENTS))}, not {', '.join(sorted(strange))}"
    for name in ("raw_args", "shown_args", "veiled_args"):
        if unknown := getattr(kind, name) - encoded_names(kind.Args):
            return f"{name} names no arg: {', '.join(sorted(unknown))}"
    return ""


def _name(kind: type[Module[Any]]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
