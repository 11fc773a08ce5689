"""The module `greet`: pure, so its steps share a commit with their neighbours."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from services.executor.modules.contract import ModuleSkipped, PureModule, Step

WORDS = {"en": "Hello", "de": "Guten Tag", "fr": "Bonjour"}


class GreetArgs(Struct, frozen=True, kw_only=True):
    """Args of `greet`."""

    name: Annotated[str, Meta(max_length=200, description="Who is greeted; nobody skips the step.")]
    language: Annotated[Literal["en", "de", "fr"], Meta(description="In which language.")] = "en"


class Greet(PureModule[GreetArgs]):
    """A greeting."""

    app_id = "greet"
    docs = "Greets somebody by name."
    Args = GreetArgs
    args_example = {"name": "Ada", "language": "de"}
    out_example = {"text": "Guten Tag Ada"}
    # The greeting holds the name: no secret may be read in it.
    shown_args = frozenset({"name"})

    def evaluate(self, args: GreetArgs, step: Step) -> dict[str, Any]:
        """Return the greeting."""
        if not args.name.strip():
            raise ModuleSkipped
        return {"text": f"{WORDS[args.language]} {args.name}"}
