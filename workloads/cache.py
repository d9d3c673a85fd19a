"""A memo with a ceiling: what points of a sweep share is computed once, and never fills the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor, nn

from hwmodels.errors import BitfrontError

Value = TypeVar("Value")

DEFAULT_BYTES = 1 << 29
"""512 MiB a process (assumed; all formats and scalings of the template sweep take about 100 MiB on digits-resnet)."""

_OBJECT_BYTES = 64  # a small Python object, to the order of magnitude


class Cache:
    """Values by key, at most `limit` bytes of them; beyond that the least recently used go and are computed again.

    A limit of 0 keeps nothing. A value larger than the limit is handed out and not kept.

    Raises:
        BitfrontError: a limit below 0.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        if limit < 0:
            raise BitfrontError(f"a cache's limit must be 0 bytes or more, but got {limit}.")
        self.limit, self.bytes = limit, 0
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made now if it is not kept. Callers must not change it."""
        if key in self._values:
            self._values.move_to_end(key)
            kept: Value = self._values[key][0]  # type: ignore[assignment]  # a key has one maker
            return kept
        value = make()
        size = size_of(value)
        if size <= self.limit:
            self._values[key] = (value, size)
            self.bytes += size
            while self.bytes > self.limit:
                self.bytes -= self._values.popitem(last=False)[1][1]
        return value

    def peek(self, key: Hashable) -> object | None:
        """The value of `key` if it is kept."""
        return self._values[key][0] if key in self._values else None

    def scope(self, name: Hashable) -> Scope:
        """Keys of their own in the same memory."""
        return Scope(self, name)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Scope:
    """The values of a cache whose keys are of one name."""

    cache: Cache
    name: Hashable

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """As :meth:`Cache.get`."""
        return self.cache.get((self.name, key), make)

    def peek(self, key: Hashable) -> object | None:
        """As :meth:`Cache.peek`."""
        return self.cache.peek((self.name, key))

    def scope(self, name: Hashable) -> Scope:
        """As :meth:`Cache.scope`."""
        return Scope(self.cache, (self.name, name))

    @property
    def bytes(self) -> int:
        """Of the whole cache."""
        return self.cache.bytes


def size_of(value: object) -> int:
    """Bytes of a value: its tensors and arrays, and 64 for all else; looks into modules, dataclasses, mappings and tuples."""
    if isinstance(value, nn.Module):
        return sum(tensor.nbytes for tensor in (*value.parameters(), *value.buffers()))
    if isinstance(value, Tensor | np.ndarray) and value.dtype != object:
        return int(value.nbytes)
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(size_of(item) for item in value.values())
    if isinstance(value, tuple | list | np.ndarray):  # of Python integers, where 64 bits are too few
        return sum(size_of(item) for item in value) + _OBJECT_BYTES
    return _OBJECT_BYTES
