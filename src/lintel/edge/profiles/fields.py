"""The field types of profile files: bounded text, hex bytes, JSON pointers. Nothing here can run anything."""

from functools import cache
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

STRICT: Final = ConfigDict(strict=True, extra="forbid")
"""Of every table of a profile file: no key that is not known, no text where a number belongs."""

UNSAFE_TEXT: Final = ("{{", "}}", "${", "$(", "{%", "<%", "`")
"""Marks of template and shell languages; no text of a profile may hold one (write such sample bytes as hex)."""

UNSAFE_KEYS: Final = frozenset(
    {"regex", "regexp", "pattern", "template", "expression", "expr", "eval", "exec", "script", "lambda", "shell"}
)
"""Keys that ask for something executable. They are refused by name, so that the author learns why."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _hex(value: object) -> bytes:
    try:
        return bytes.fromhex(value if isinstance(value, str) else "not text")
    except ValueError:
        raise ValueError("bytes as hex text, for example '16 54 0D'") from None


def safe_name(value: str) -> bool:
    """Whether `value` can name a profile; such a name is also a safe file name."""
    return 0 < len(value) <= 64 and _NAME.issuperset(value) and value[0] not in "-_"


def _name(value: str) -> str:
    if not safe_name(value):
        raise ValueError("a name of up to 64 characters a-z, 0-9, '-' and '_', starting with a letter or digit")
    return value


def _pointer(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("a JSON pointer (RFC 6901) such as '/info/pic', or '' for the whole document")
    rest = value.replace("~0", "").replace("~1", "")
    if "~" in rest:
        raise ValueError("a JSON pointer where '~' is written '~0' and '/' in a key '~1' (RFC 6901)")
    return value


Hex = Annotated[bytes, BeforeValidator(_hex), Field(max_length=512)]
"""Up to 512 bytes, written as hex pairs with or without spaces."""

Name = Annotated[str, AfterValidator(_name)]
"""A lower-case identifier that is also a safe file name."""

Text = Annotated[str, Field(min_length=1, max_length=2000)]
"""Text for people: titles, sources."""

Pointer = Annotated[str, Field(max_length=200), AfterValidator(_pointer)]
"""A JSON pointer (RFC 6901) into a device's message."""


@cache
def steps(pointer: str) -> tuple[str, ...]:
    """The unescaped reference tokens of a JSON pointer, in order; () for the whole document."""
    return tuple(t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:])
