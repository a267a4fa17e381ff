"""TOML files that people write: read within bounds, and every mistake told with its key and what was expected."""

import tomllib
from collections.abc import Collection, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from lintel.edge.errors import ConfigError, Mistake

Row = Mapping[str, object]
"""A table as it was read: nobody has looked at the types of its values yet."""

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16
MAX_DOTS: Final = 100
"""Dots in one line: tomllib needs quadratic time for a long dotted key (16 s for one of 60 kB)."""


def read_table(path: Path | Traversable, file: str) -> dict[str, Any]:
    """The TOML document in `path`; `file` is what the user calls it. Raises ConfigError."""
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(file, [Mistake("file", f"expected a readable file: {error.strerror}")]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(file, [Mistake("file", f"expected at most {MAX_BYTES // 1024} kB [too_large]")])
    for number, line in enumerate(raw.splitlines(), 1):
        if line.count(b".") > MAX_DOTS:
            raise ConfigError(file, [Mistake(f"line {number}", f"expected at most {MAX_DOTS} dots [too_large]")])
    try:
        table = tomllib.loads(raw.decode())
        deep = _depth(table) > MAX_DEPTH
    except UnicodeDecodeError as error:
        number = raw[: error.start].count(b"\n") + 1
        raise ConfigError(file, [Mistake(f"line {number}", "expected UTF-8 text [bad_format]")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [Mistake("file", f"expected TOML: {error} [bad_format]")]) from None
    except RecursionError:
        deep = True
    if deep:
        raise ConfigError(file, [Mistake("file", f"expected at most {MAX_DEPTH} levels of nesting [too_large]")])
    return table


def _depth(table: object) -> int:
    deepest, todo = 0, [(table, 1)]
    while todo:
        value, depth = todo.pop()
        deepest = max(deepest, depth)
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        todo += [(child, depth + 1) for child in children if isinstance(child, dict | list)]
    return deepest


def table_at(row: Row, key: str) -> Row:
    """The table under `key`; an empty one where there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def rows_at(row: Row, key: str) -> list[tuple[int, Row]]:
    """The tables in the list under `key`, each with its place there; what is no table is passed over."""
    value = row.get(key)
    return [(n, r) for n, r in enumerate(value) if isinstance(r, dict)] if isinstance(value, list) else []


def text_at(row: Row, key: str) -> str:
    """The text under `key`; "" where there is none."""
    value = row.get(key)
    return value if isinstance(value, str) else ""


def mistakes_of(error: ValidationError, hidden: Collection[str] = ()) -> list[Mistake]:
    """pydantic's findings as mistakes, in the order of the file. `hidden`: tags of unions, which no file spells."""
    found = error.errors(include_url=False)
    paths = [_path(e["loc"], hidden) for e in found]
    return [
        Mistake(path, f"{_expected(e)} [schema_violation]")
        for path, e in zip(paths, found, strict=True)
        # a list whose entries are wrong is not "too short" as well
        if not (e["type"] == "too_short" and any(p.startswith(f"{path}[") for p in paths))
    ]


def _path(loc: tuple[int | str, ...], hidden: Collection[str]) -> str:
    path = ""
    for step in loc:
        if step in hidden:
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "file"


def _expected(error: Any) -> str:  # noqa: ANN401  pydantic's error dict
    kind, message = error["type"], error["msg"]
    if kind == "missing":
        return "expected this key: it is required"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "expected no such key: it is unknown here"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return f"expected {message[:1].lower() + message[1:]}"
