"""The registry keeps the contract: every module is sound, and an unsound one stops the start."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from services.executor.modules import catalogue
from services.executor.modules.contract import (
    EffectModule,
    Module,
    ModuleFailed,
    PureModule,
    Services,
    Step,
    Wait,
)
from services.executor.modules.registry import InvalidModule, Registry, decode_args, info
from tests.docs import pages
from tests.fixtures.modules import MODULES, a_step, decoded, evaluated

# What these put out is the engine's work: tests/unit/executor/test_loops.py has it.
OF_LOOPS = {"iterator", "aggregator"}
PURE = [module.app_id for module in MODULES.all() if module.pure and module.app_id not in OF_LOOPS]


class GreetArgs(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    first_name: str
    times: int = 1
    tags: list[str] = []
    extra: dict[str, Any] | None = None


class Greet(PureModule[GreetArgs]):
    app_id = "greet"
    docs = "Greets."
    Args = GreetArgs
    args_example = {"firstName": "Ada"}  # noqa: RUF012
    out_example = "Hello Ada"

    def evaluate(self, args: GreetArgs, step: Step) -> str:  # noqa: ARG002
        return f"Hello {args.first_name}"


def several() -> list[type[Module[Any]]]:
    return [Greet, type("Shout", (Greet,), {"app_id": "shout"})]


def broken() -> None:
    raise RuntimeError("no licence")


def a_point(monkeypatch: pytest.MonkeyPatch, value: object) -> EntryPoint:
    package = ModuleType("a_package")
    package.thing = value  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_package", package)
    return EntryPoint(name="thing", value="a_package:thing", group="headrace.modules")


@pytest.mark.parametrize("app_id", PURE)
def test_the_example_of_a_pure_module_gives_the_output_it_promises(app_id: str) -> None:
    module = MODULES.get(app_id)
    assert module is not None
    out = evaluated(app_id, module.args_example, args={})
    assert (out.out if isinstance(out, Wait) else out) == module.out_example


@pytest.mark.parametrize("module", MODULES.all(), ids=lambda module: str(module.app_id))
def test_every_module_can_be_announced_and_describes_each_arg(module: Module[Any]) -> None:
    announced = msgspec.convert(msgspec.to_builtins(info(module)), type(info(module)))
    described = [schema.get("description") for schema in announced.args_schema["properties"].values()]
    assert announced == info(module)
    assert all(described)


@pytest.mark.parametrize("module", MODULES.all(), ids=lambda module: str(module.app_id))
def test_the_schema_of_a_modules_args_says_what_is_taken(module: Module[Any]) -> None:
    described = info(module).args_schema
    schema = Draft202012Validator(described)
    schema.check_schema(described)
    assert schema.is_valid(module.args_example)
    for name in described["properties"]:
        for value in (None, True, -7, 0, 2, 0.5, "", "text", [], [None], {}, {"a": None}):
            args = {**module.args_example, name: value}
            if schema.is_valid(args):
                decode_args(module, args)  # what the schema allows is taken
        left = {other: value for other, value in module.args_example.items() if other != name}
        if name in described.get("required", ()):
            with pytest.raises(ModuleFailed, match=f"missing required field `{name}`"):
                decode_args(module, left)
        else:
            decode_args(module, left)


def test_the_page_of_modules_is_what_the_modules_say() -> None:
    page = Path(__file__).parents[3] / "docs" / "modules.md"
    assert page.read_text() == catalogue.page(MODULES)


def test_the_module_on_the_page_is_a_module() -> None:
    source = next(block.text for block in pages.blocks("docs/modules.md") if block.language == "python")
    names: dict[str, Any] = {}
    exec(source, names)
    greet = Registry([names["Greet"]]).get("greet")
    assert isinstance(greet, PureModule)
    assert greet.evaluate(decode_args(greet, greet.args_example), a_step()) == greet.out_example


def test_an_entry_point_may_name_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.load([a_point(monkeypatch, Greet)])
    assert isinstance(registry.get("greet"), Greet)


def test_an_entry_point_may_name_a_function_that_returns_several(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.load([a_point(monkeypatch, several)])
    assert {"greet", "shout", "var"} <= {module.app_id for module in registry.all()}


def test_modules_of_packages_that_do_not_say_what_they_show_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says_none = type("Quiet", (Greet,), {"app_id": "quiet", "shown_args": frozenset()})
    inherits = type("Hushed", (says_none,), {"app_id": "hushed"})
    brought = [*several(), says_none, inherits]
    assert Registry.load([a_point(monkeypatch, lambda: brought)]).unfenced == ("greet", "shout")
    assert MODULES.unfenced == ()


def test_nothing_is_known_under_a_name_nobody_took() -> None:
    assert MODULES.get("no-such-module") is None


@pytest.mark.parametrize(
    ("brought", "reason"),
    [
        (broken, "entry point thing (a_package:thing) cannot be loaded: RuntimeError('no licence')"),
        (lambda: ["x"], "'x' is no class derived from PureModule or EffectModule"),
        (type("Var", (Greet,), {"app_id": "var"}), "both call themselves 'var'"),
        (type("Loud", (Greet,), {"app_id": "Greet Me"}), "app_id 'Greet Me' is not in kebab-case"),
        (
            type("Mute", (PureModule,), {"app_id": "mute"}),
            "does not say its docs, Args, args_example, out_example",
        ),
        (type("Wrong", (Greet,), {"args_example": {}}), "Object missing required field `firstName`"),
        (type("Odd", (Greet,), {"out_example": object()}), "its example does not hold"),
        (type("Raw", (Greet,), {"raw_args": frozenset({"name"})}), "raw_args names no arg: name"),
        (type("Show", (Greet,), {"shown_args": frozenset({"name"})}), "shown_args names no arg: name"),
        (type("Veil", (Greet,), {"veiled_args": frozenset({"name"})}), "veiled_args names no arg: name"),
        (
            type("Part", (Greet,), {"required_components": frozenset({"fax"})}),
            "required_components are of ai, console, db, request, storage, not fax",
        ),
        (type("Bare", (Greet,), {"Args": dict}), "Args is not a msgspec.Struct"),
        (type("Idle", (Greet,), {"evaluate": PureModule.evaluate}), "plain method evaluate(args, step)"),
        (
            type("Sync", (EffectModule,), {**{n: vars(Greet)[n] for n in vars(Greet) if n[0] != "_"}}),
            "async method run(args, step, services)",
        ),
    ],
)
def test_a_module_that_breaks_the_contract_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, brought: object, reason: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        Registry.load([a_point(monkeypatch, brought)])
    assert str(stopped.value).startswith("modules: ")
    assert reason in str(stopped.value)


def test_a_registry_of_ones_own_refuses_the_same() -> None:
    with pytest.raises(InvalidModule, match="both call themselves 'greet'"):
        Registry([Greet, Greet])


def test_a_module_with_effects_is_taken() -> None:
    async def run(self: object, args: GreetArgs, step: Step, services: Services) -> str:
        return "done"

    members = {name: vars(Greet)[name] for name in ("app_id", "docs", "Args", "args_example", "out_example")}
    kind = type("Call", (EffectModule,), {**members, "run": run})
    assert [module.pure for module in Registry([kind]).all()] == [False]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"firstName": "Ada", "times": "3"}, GreetArgs(first_name="Ada", times=3)),
        ({"firstName": 42}, GreetArgs(first_name="42")),
        ({"firstName": 2.0}, GreetArgs(first_name="2")),
        ({"firstName": True}, GreetArgs(first_name="true")),
        ({"firstName": "Ada", "tags": '["a"]'}, GreetArgs(first_name="Ada", tags=["a"])),
        ({"firstName": "Ada", "extra": '{"a": 1}'}, GreetArgs(first_name="Ada", extra={"a": 1})),
        ({"firstName": "Ada", "times": None, "tags": None}, GreetArgs(first_name="Ada")),
        ({"firstName": "Ada", "unknown": 1}, GreetArgs(first_name="Ada")),
    ],
)
def test_args_take_what_an_expression_would_naturally_give(
    given: dict[str, Any], expected: GreetArgs
) -> None:
    assert decode_args(Greet(), given) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "greet: args: Object missing required field `firstName`"),
        ({"firstName": None}, "greet: arg firstName: Expected `str`, got `null`"),
        ({"firstName": ["a"]}, "greet: arg firstName: Expected `str`, got `array`"),
        ({"firstName": "a", "times": "many"}, "greet: arg times: Expected `int`, got `str`"),
        ({"firstName": "a", "tags": "[1"}, "greet: arg tags: Expected `array`, got `str`"),
        ({"firstName": "a", "tags": ["x", 1]}, "greet: arg tags[1]: Expected `str`, got `int`"),
    ],
)
def test_args_that_do_not_fit_fail_for_good_and_name_the_arg(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModuleFailed) as raised:
        decode_args(Greet(), given)
    assert (raised.value.message, raised.value.code, raised.value.final) == (sentence, "MODULE_ERROR", True)


def test_args_of_a_type_that_json_text_may_stand_for_keep_that_text() -> None:
    assert decoded("curl", {"url": "http://a.example", "body": '{"a": 1}'}).body == '{"a": 1}'
