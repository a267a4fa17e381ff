"""User-facing text in English and Chinese; LC_ALL, LC_MESSAGES or LANG decides. Why not gettext: decision 008."""

import os
import re
from functools import cache


def chinese() -> bool:
    """Whether this user reads Chinese."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def tr(en: str, zh: str) -> str:
    """The one of two texts that this user reads."""
    return zh if chinese() else en


def told(message: object) -> str:
    """An error or mistake in the words of this user: the fixed parts of each line are looked up, values stay."""
    text = str(message)
    return "\n".join(_line(line) for line in text.split("\n")) if chinese() else text


_LINE = re.compile(r"(?P<indent> *)(?P<text>.*?)(?P<word> \[[a-z_]+\])?")


def _line(line: str) -> str:
    found = _LINE.fullmatch(line)
    assert found is not None  # noqa: S101  it takes any line
    return found["indent"] + _phrase(found["text"]) + (found["word"] or "")


def _phrase(text: str) -> str:
    for pattern, parts in _phrases():
        if found := pattern.fullmatch(text):
            values = [*found.groups(), ""]
            return "".join(part + value for part, value in zip(parts, values, strict=True))
    if text.startswith("expected "):
        return f"应为{_phrase(text.removeprefix('expected '))}"
    where, colon, rest = text.partition(": ")
    return f"{where}: {_phrase(rest)}" if colon else text


@cache
def _phrases() -> tuple[tuple[re.Pattern[str], list[str]], ...]:
    """Each English phrase as a pattern, the one with most fixed text first, and the pieces of its Chinese."""
    from lintel.edge.chinese import PHRASES  # noqa: PLC0415  200 phrases that an English reader never needs

    ordered = sorted(PHRASES.items(), key=lambda pair: -len(pair[0].replace("{}", "")))
    return tuple((re.compile("(.*?)".join(map(re.escape, en.split("{}")))), zh.split("{}")) for en, zh in ordered)
