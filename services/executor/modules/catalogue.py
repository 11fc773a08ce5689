"""The page of all modules, written from the modules themselves: `python -m services.executor.modules.catalogue`."""

import sys
from typing import Any

import msgspec

from libs.common.messages.module import ModuleInfo
from services.executor.modules.registry import Registry, info

_HEAD = """\
# Modules

A step names a module by its `appId` and gives it `args`; later steps read the output as `$prev.<ref>.<field>`.
This page is written from the modules themselves (`python -m services.executor.modules.catalogue > docs/modules.md`),
and every example is run as a test.

A *pure* module gives the same output for the same args and touches nothing: its steps share one durable commit. The
step of a module *with effects* is durable before it starts and after it ended; a crash in between repeats it, always
with the same idempotency key.

Args may hold expressions. Beside its own type an arg takes numeric text where a number is wanted, a number or boolean
where text is wanted, JSON text where a list or an object is wanted, and null where it has a default. Unknown args are
ignored. Args marked *raw* are read by the module: an expression with a bare `.field` in them is evaluated there, with
`.` as the element or the data.

"""

_TAIL = """\
## Modules of your own

A class with `app_id`, `docs`, typed `Args`, two examples and one method is a module. Derive it from `PureModule`
(`evaluate`) when it only computes, else from `EffectModule` (an async `run`, with the shared HTTP session in
`services.http`). Raise `ModuleFailed` when the step failed (`final=True` when a retry cannot help), `ModuleSkipped`
when there was nothing to do.

```python
import msgspec

from services.executor.modules.contract import PureModule, Step


class GreetArgs(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class Greet(PureModule[GreetArgs]):
    app_id = "greet"
    docs = "Greets somebody."
    Args = GreetArgs
    args_example = {"name": "Ada"}
    out_example = {"text": "Hello Ada"}
    # The greeting holds the name: no secret may be read in it (write-a-module.md).
    shown_args = frozenset({"name"})

    def evaluate(self, args: GreetArgs, step: Step) -> dict[str, str]:
        return {"text": f"Hello {args.name}"}
```

Name it in the entry points of your package, and install the package beside Headrace. An executor finds it when it
starts, and refuses to start, with a sentence, when the module breaks the contract or takes a name that is taken.
[Write a module](write-a-module.md) tells all of it, with a package to copy.

```toml
[project.entry-points."headrace.modules"]
greet = "your_package.greet:Greet"
```
"""


def page(registry: Registry) -> str:
    """Return docs/modules.md: a table of all modules, then args and example of each."""
    modules = [info(module) for module in registry.all()]
    table = [
        f"| [`{module.app_id}`](#{module.app_id}) | {_kind(module)} | {_first(module.docs)} |"
        for module in modules
    ]
    index = "\n".join(["| module | kind | |", "| --- | --- | --- |", *table])
    return _HEAD + index + "\n\n" + "\n".join(map(_section, modules)) + "\n" + _TAIL


def _section(module: ModuleInfo) -> str:
    properties: dict[str, Any] = module.args_schema["properties"]
    required = module.args_schema.get("required", [])
    args = [
        f"| `{name}`{' (raw)' if name in module.raw_args else ''} | {_type(schema, module)} "
        f"| {'required' if name in required else _code(schema['default'])} | {_cell(schema.get('description', ''))} |"
        for name, schema in properties.items()
    ]
    parts = [
        f"## {module.app_id}",
        "",
        f"{module.docs} *{_kind(module).capitalize()}.*",
        "",
        *("| arg | type | default | |", "| --- | --- | --- | --- |", *args),
        "",
        *("```json args", _json(module.args_example), "```", ""),
        *("```json output", _json(module.out_example), "```", ""),
    ]
    return "\n".join(parts)


def _type(schema: dict[str, Any], module: ModuleInfo) -> str:
    if "anyOf" in schema:
        names = [_type(part, module) for part in schema["anyOf"]]
        # An integer is a number, and a null says what the default already says.
        return " or ".join(
            name for name in names if name != "null" and not (name == "integer" and "number" in names)
        )
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    if "$ref" in schema:
        return _fields(module.args_schema["$defs"][schema["$ref"].rpartition("/")[2]])
    if schema.get("type") == "array" and schema.get("items"):
        return f"list of {_type(schema['items'], module)}"
    return {"array": "list", None: "any value"}.get(schema.get("type"), str(schema.get("type")))


def _fields(schema: dict[str, Any]) -> str:
    return "`{" + ", ".join(schema["properties"]) + "}`"


def _kind(module: ModuleInfo) -> str:
    return "pure" if module.pure else "with effects"


def _first(docs: str) -> str:
    """Return the first sentence."""
    end = docs.find(". ")
    return _cell(docs if end < 0 else docs[: end + 1])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(value: Any) -> str:
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"`{msgspec.json.encode(value).decode()}`"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


if __name__ == "__main__":
    sys.stdout.write(page(Registry.load()))
