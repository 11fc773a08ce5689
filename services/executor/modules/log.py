"""The module `log`: a line in the executor's log."""

from typing import Annotated, Any, Literal

import structlog
from msgspec import Meta, Struct

from services.executor.masking import masked
from services.executor.modules.contract import Module, PureModule, Step

MESSAGE_CHARS_MAX = 16_384

log = structlog.get_logger()


class LogArgs(Struct, frozen=True, kw_only=True):
    """Args of `log`."""

    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX, description="What to say.")]
    level: Annotated[Literal["debug", "info", "warn", "error"], Meta(description="How much it matters.")] = (
        "info"
    )


class Log(PureModule[LogArgs]):
    """A line in the log.

    It is pure in the sense that counts: nothing comes back from a log line, so a barrier before and after it would buy
    nothing for two durable commits.
    """

    app_id = "log"
    docs = (
        "Writes a line to the executor's log, with the play it belongs to. The line may come twice when an executor "
        "crashes. Secret KV entries read as `***` in the message; do not log others: the log is not encrypted."
    )
    Args = LogArgs
    veiled_args = frozenset({"message"})
    required_components = frozenset({"console"})
    args_example = {"message": "order 42 accepted", "level": "info"}
    out_example = {"message": "order 42 accepted", "level": "info"}

    def evaluate(self, args: LogArgs, step: Step) -> dict[str, str]:
        """Write the line; return what was written."""
        write = getattr(log, "warning" if args.level == "warn" else args.level)
        message = masked(args.message, step.secrets)
        write(
            "flow_log",
            message=message,
            company_id=step.company_id,
            flow_id=step.flow_id,
            play_id=step.play_id,
            ref=step.ref,
        )
        return {"message": message, "level": args.level}


MODULES: tuple[type[Module[Any]], ...] = (Log,)
