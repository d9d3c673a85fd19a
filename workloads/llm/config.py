"""Reading a model's config.json, with every refusal in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwmodels.errors import BitfrontError


class ConfigError(BitfrontError):
    """A configuration that is not one of a network that can be built."""


@dataclass(frozen=True)
class Settings:
    """The keys of a config.json. A key that is null counts as missing, as in Hugging Face's own reading."""

    values: Mapping[str, Any]

    def whole(self, key: str, *, default: int | None = None) -> int:
        """A whole number of at least 1.

        Raises:
            ConfigError: it is none, or missing without a default.
        """
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{key} must be a whole number of at least 1, but config.json has {value!r}.")
        return value

    def number(self, key: str, *, default: float | None = None) -> float:
        """A number above 0.

        Raises:
            ConfigError: it is none, or missing without a default.
        """
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"{key} must be a number above 0, but config.json has {value!r}.")
        return float(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Whether something is on."""
        return bool(self._get(key, default))

    def one_of(self, key: str, *known: str, default: str | None = None) -> str:
        """One of the words that are known.

        Raises:
            ConfigError: it is none of them, or missing without a default.
        """
        value = self._get(key, default)
        if value not in known:
            raise ConfigError(f"{key} must be {' or '.join(known)}, but config.json has {value!r}.")
        return str(value)

    def has(self, key: str) -> bool:
        """Whether there is such a key."""
        return self.values.get(key) is not None

    def _get(self, key: str, default: object) -> Any:
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise ConfigError(f"config.json must have the key {key!r}, but it has none.")
        return value
