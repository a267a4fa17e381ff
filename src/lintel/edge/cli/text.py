"""User-facing text in English and Chinese; LC_ALL, LC_MESSAGES or LANG decides."""

import os


def chinese() -> bool:
    """Whether this user reads Chinese."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def tr(en: str, zh: str) -> str:
    """The one of two texts that this user reads."""
    return zh if chinese() else en
