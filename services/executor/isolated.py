"""The process that `isolation` starts: one module, once, within its limits; JSON in, JSON out."""

import resource
import sys

import msgspec

from services.executor.isolation import Answer, Task
from services.executor.modules.args import decode_args
from services.executor.modules.contract import ModuleFailed, PureModule
from services.executor.modules.registry import Registry

FILES_MAX = 64


def main() -> int:
    """Do what stdin says and answer on stdout; nothing but 0 means that there is an answer."""
    registry = Registry.load()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    _limit(task)
    sys.stdout.buffer.write(msgspec.json.encode(_answer(registry, task)))
    return 0


def _limit(task: Task) -> None:
    limits = (
        (resource.RLIMIT_AS, task.memory_bytes_max),
        (resource.RLIMIT_CPU, task.cpu_s_max),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_FSIZE, task.output_bytes_max),
        (resource.RLIMIT_CORE, 0),
    )
    for what, most in limits:
        resource.setrlimit(what, (most, most))


def _answer(registry: Registry, task: Task) -> Answer:
    module = registry.get(task.app_id)
    if not isinstance(module, PureModule) or not module.isolated:
        return Answer(error=f"there is no module {task.app_id!r} that can be isolated", final=True)
    try:
        out = module.evaluate(decode_args(module, task.args), task.step)
        size = len(msgspec.json.encode(out))
    except ModuleFailed as error:
        return Answer(error=error.message, code=error.code, final=error.final)
    except Exception as error:  # noqa: BLE001 - a module's own mistake fails its step
        return Answer(error=f"{type(error).__name__}: {error}")
    if size > task.output_bytes_max:
        too_large = f"the output has {size} bytes, more than the {task.output_bytes_max} a step may have"
        return Answer(error=too_large, code="OUTPUT_TOO_LARGE", final=True)
    return Answer(out=out)


if __name__ == "__main__":
    sys.exit(main())
