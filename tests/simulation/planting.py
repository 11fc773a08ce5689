"""How a bug is planted: a part of the executor's code is replaced while a world runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

Planted = Callable[[], AbstractContextManager[Any]]


def swap(target: Any, name: str, replacement: Any) -> Planted:
    """Return the replacement of a function or method, for a world."""
    return lambda: mock.patch.object(target, name, replacement)
