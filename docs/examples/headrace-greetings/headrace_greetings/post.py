"""The module `greet-post`: it has effects, so it names its idempotency key to whoever it calls."""

from typing import Annotated, Any, ClassVar

import aiohttp
from msgspec import Meta, Struct

from services.executor.modules.contract import EffectModule, ModuleFailed, Services, Step


class GreetPostArgs(Struct, frozen=True, kw_only=True):
    """Args of `greet-post`."""

    url: Annotated[str, Meta(description="Where the greeting is sent.")]
    text: Annotated[str, Meta(description="The greeting.")]


class GreetPost(EffectModule[GreetPostArgs]):
    """A greeting on its way."""

    app_id = "greet-post"
    docs = "Sends a greeting. Any answer but 2xx fails the step; it is tried again by the rules of the step."
    Args = GreetPostArgs
    args_example = {"url": "https://wall.example.com/greetings", "text": "Hello Ada"}
    out_example = {"statusCode": 201}
    # A status tells nothing of what was sent.
    shown_args: ClassVar[frozenset[str]] = frozenset()

    async def run(self, args: GreetPostArgs, step: Step, services: Services) -> dict[str, Any]:
        """Return the status of the answer."""
        # The same key on every attempt: whoever keeps greetings can tell a repeat from a new one.
        headers = {"Idempotency-Key": step.idempotency_key}
        try:
            async with services.http.post(args.url, json={"text": args.text}, headers=headers) as answer:
                status = answer.status
        except aiohttp.ClientError as error:
            raise ModuleFailed(f"greet-post: no answer: {type(error).__name__}") from error
        if not 200 <= status < 300:
            # A request that is wrong stays wrong: no retry helps.
            raise ModuleFailed(f"greet-post: status {status}", final=400 <= status < 500)
        return {"statusCode": status}
