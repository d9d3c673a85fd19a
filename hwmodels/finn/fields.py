"""Reading an operator's parameters from text (a CSV row) or from node attributes, with errors that name the place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from hwmodels.finn.datatypes import FinnType, parse_finn_type
from hwmodels.finn.errors import FinnModelError

Choice = TypeVar("Choice", bound=str)


class Fields:
    """The parameters of one operator, read by name and type; it remembers which names were read.

    Args:
        op: operator name, for messages.
        kind: what a name is called in messages.
        values: text or JSON values by name; None and empty text count as absent.
    """

    def __init__(self, op: str, kind: Literal["column", "attribute"], values: Mapping[str, object]) -> None:
        self.op = op
        self._kind = kind
        self._values = {name: value for name, value in values.items() if value is not None and value != ""}
        self.read: set[str] = set()

    def error(self, name: str, needed: str) -> FinnModelError:
        """The error that a value is not what is needed, or that it is missing."""
        if name not in self._values:
            return FinnModelError(f"{self._kind} {name} of {self.op} is missing; it must be {needed}.")
        return FinnModelError(f"{self._kind} {name} of {self.op} must be {needed}, but got {self._values[name]!r}.")

    def unread(self) -> list[str]:
        """Names that hold a value nobody asked for, in the given order."""
        return [name for name in self._values if name not in self.read]

    def has(self, name: str) -> bool:
        """Whether the name holds a value."""
        self.read.add(name)
        return name in self._values

    def _integer(self, value: object) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            return int(value)
        return None

    def integer(self, name: str, *, least: int = 1, default: int | None = None) -> int:
        """A whole number of at least `least`; `default` where the name is absent."""
        if not self.has(name) and default is not None:
            return default
        number = self._integer(self._values.get(name))
        if number is None or number < least:
            raise self.error(name, f"a whole number of at least {least}")
        return number

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """0 or 1."""
        if not self.has(name) and default is not None:
            return default
        number = self._integer(self._values.get(name))
        if number not in (0, 1):
            raise self.error(name, "0 or 1")
        return bool(number)

    def dims(self, name: str, *, least: int = 1, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Sizes, as `1x30x30` or as a list of whole numbers, each at least `least`."""
        if not self.has(name) and default is not None:
            return tuple(default)
        value = self._values.get(name)
        parts: Iterable[object] = ()
        if isinstance(value, str):
            parts = value.split("x")
        elif isinstance(value, Sequence):
            parts = value
        elif value is not None:
            parts = (value,)
        sizes = [self._integer(part) for part in parts]
        whole = tuple(size for size in sizes if size is not None and size >= least)
        if not whole or len(whole) != len(sizes):
            raise self.error(name, f"sizes of at least {least} such as 1x30x30")
        return whole

    def pair(self, name: str, *, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """(height, width), as `3x3`, as a list of two, or as one number for a square."""
        sizes = self.dims(name, default=default)
        if len(sizes) > 2:
            raise self.error(name, "a size or a height and a width such as 3x3")
        return sizes[0], sizes[-1]

    def choice(self, name: str, choices: Sequence[Choice], *, default: Choice | None = None) -> Choice:
        """One of the choices."""
        if not self.has(name) and default is not None:
            return default
        value = self._values.get(name)
        for option in choices:
            if value == option:
                return option
        raise self.error(name, f"one of {', '.join(choices)}")

    def text(self, name: str, needed: str) -> str:
        """Any text."""
        value = self._values.get(name) if self.has(name) else None
        if not isinstance(value, str):
            raise self.error(name, needed)
        return value

    def finn_type(self, name: str, *, default: str | None = None) -> FinnType:
        """A FINN data type."""
        if not self.has(name) and default is not None:
            return parse_finn_type(default)
        value = self.text(name, "a FINN data type such as INT4, UINT8 or BIPOLAR")
        try:
            return parse_finn_type(value)
        except FinnModelError as error:
            raise FinnModelError(f"{self._kind} {name} of {self.op}: {error}") from error
