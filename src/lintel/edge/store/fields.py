"""The fields of an import row, one function for each kind: the value, or WrongField."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

MAX_TEXT = 128

W = TypeVar("W", bound=StrEnum)


class WrongField(ValueError):
    """One field is wrong: `args` are its name and what was expected."""


def only_known(row: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """No field but these."""
    for name in row:
        if name not in names:
            raise WrongField(str(name)[:32], f"expected no such field; known are {', '.join(names)}")


def text(row: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    """Up to 128 printable characters; "" where the field is missing."""
    value = row.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable() or (needed and not value):
        raise WrongField(name, f"expected {1 if needed else 0} to {MAX_TEXT} printable characters")
    return value


def word(row: Mapping[str, Any], name: str, words: tuple[W, ...], default: W | None = None) -> W:
    """One word of a closed vocabulary."""
    value = row.get(name, default)
    for word in words:
        if value == word:
            return word
    raise WrongField(name, f"expected one of {', '.join(map(str, words))}")


def whole_number(row: Mapping[str, Any], name: str, least: int) -> int | None:
    """A whole number, also as digits; None where the field is missing."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 53:
        raise WrongField(name, f"expected a whole number, {least} or more")
    return value


def yes(row: Mapping[str, Any], name: str) -> bool:
    """Yes or no; no where the field is missing."""
    value = row.get(name, False)
    if value not in (True, False, "yes", "no", "true", "false", "1", "0"):
        raise WrongField(name, "expected yes or no")
    return value in (True, "yes", "true", "1")


def door_groups(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Door groups: a list, or one text with spaces between them."""
    value = row.get("groups", ())
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or len(names) > 64:
        raise WrongField("groups", "expected door groups with spaces between them")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= 64 or not name.isprintable() or name.split() != [name]:
            raise WrongField("groups", "expected door groups with spaces between them")
    return tuple(names)


def hex_bytes(row: Mapping[str, Any], name: str, size: int) -> bytes | None:
    """Exactly `size` bytes as hex digits; None where the field is missing."""
    value = row.get(name)
    if value is None:
        return None
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) and len(value) == 2 * size else b""
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise WrongField(name, f"expected {2 * size} hex digits")
    return raw


def in_order(valid_from: float | None, valid_to: float | None) -> None:
    """A validity ends after it begins."""
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise WrongField("valid_to", "expected a time after valid_from")
