"""A step's evaluated args as the module's typed struct, with the conversions that expressions make natural."""

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from services.executor.modules.contract import Module, ModuleFailed
from services.executor.modules.language import text_of


class Wish(msgspec.Struct, frozen=True):
    """What an arg takes beside values of its own type."""

    text: bool  # a number or boolean as its text
    json: bool  # a list or object as JSON text
    absent: bool  # null as if it were not given


def decode_args(module: Module[Any], args: dict[str, Any]) -> Any:
    """Return the args as `module.Args`.

    Beside exact types: numeric text where a number is wanted, a number or boolean where text is wanted, JSON text
    where a list or an object is wanted, null where an arg has a default. Unknown args are ignored.
    Raises ModuleFailed (final, MODULE_ERROR) with a sentence that names the arg.
    """
    try:
        return msgspec.convert(args, module.Args, strict=False)
    except msgspec.ValidationError:
        # Nearly all args fit as they are; only those that do not pay for a closer look.
        wanted = _adapted(args, _wishes(module.Args))
    try:
        return msgspec.convert(wanted, module.Args, strict=False)
    except msgspec.ValidationError as error:
        raise ModuleFailed(f"{module.app_id}: {_sentence(str(error))}", final=True) from error


def schema_of(args: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an Args struct, its properties at the top."""
    schema = msgspec.json.schema(args)
    name = schema.pop("$ref").rpartition("/")[2]
    others = schema.pop("$defs")
    top: dict[str, Any] = others.pop(name)
    top.pop("title", None)
    return {**top, "$defs": others} if others else top


def encoded_names(args: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of a struct's fields as they stand in JSON."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(args))


def _adapted(args: dict[str, Any], wishes: dict[str, Wish]) -> dict[str, Any]:
    adapted: dict[str, Any] = {}
    for name, value in args.items():
        wish = wishes.get(name)
        if wish is None or (value is None and wish.absent):
            continue
        adapted[name] = _as_wished(value, wish)
    return adapted


def _as_wished(value: Any, wish: Wish) -> Any:
    if wish.text and isinstance(value, bool | int | float):
        return text_of(value)
    if wish.json and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value  # the conversion that follows names the arg and its type
    return value


@lru_cache(maxsize=1024)
def _wishes(args: type[msgspec.Struct]) -> dict[str, Wish]:
    described = inspect.type_info(args)
    assert isinstance(described, inspect.StructType)
    return {field.encode_name: _wish(field) for field in described.fields}


def _wish(field: inspect.Field) -> Wish:
    plain = _unwrapped(field.type)
    types = tuple(map(_unwrapped, plain.types)) if isinstance(plain, inspect.UnionType) else (plain,)
    return Wish(
        text=any(isinstance(kind, inspect.StrType) for kind in types),
        json=any(
            isinstance(kind, inspect.ListType | inspect.DictType | inspect.StructType) for kind in types
        ),
        absent=not field.required and not any(isinstance(kind, inspect.NoneType) for kind in types),
    )


def _unwrapped(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _sentence(message: str) -> str:
    """Turn "Expected `int`, got `str` - at `$.ms`" into "arg ms: Expected `int`, got `str`"."""
    detail, _, place = message.partition(" - at `$")
    name = place.rstrip("`").removeprefix(".")
    return f"arg {name}: {detail}" if name else f"args: {detail}"
