"""Reads an allowlist: CSV with one credential a line, or JSON with everything. Every mistake is told at once.

Raw credential values are digested while the file is read and stand nowhere afterwards. The way back is `export`.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lintel.edge.digests import Digester
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.model import Method, PersonKind, Status
from lintel.edge.store import fields, history
from lintel.edge.store.changes import (
    CONSENTS,
    KINDS,
    METHODS,
    STATUSES,
    Change,
    CredentialPut,
    ItemPut,
    PassPut,
    Type,
)
from lintel.edge.store.fields import WrongField
from lintel.edge.store.names import pass_name

MAX_BYTES = 64 << 20
COLUMNS = (
    "person", "kind", "mask", "method", "value", "digest", "groups", "valid_from", "valid_to", "schedule",
    "use_limit", "uses", "status", "duress", "consent", "consent_rev", "rev", "id",
)  # fmt: skip
PASS_KEYS = (
    "pass_id", "secret", "groups", "valid_from", "valid_to", "use_limit", "uses", "status", "person", "rev", "id",
)  # fmt: skip
SECTIONS = {
    "credentials": Type.CREDENTIAL, "passes": Type.VISITOR_PASS, "schedules": Type.SCHEDULE,
    "holidays": Type.HOLIDAY_SET, "blocks": Type.BLOCK,
}  # fmt: skip

Parsed = tuple[list[Change], list[Mistake]]
S = TypeVar("S", list[Any], dict[str, Any])


def read_import(path: Path, digest: Digester, zone: tzinfo | None = None) -> Parsed:
    """Changes and mistakes of a CSV or JSON file (by its suffix). Raises ConfigError when it can not be read at all.

    `zone`: where a date without a time begins and ends; None makes such a date a mistake.
    """
    return parse(read_text(path), "json" if path.suffix.lower() == ".json" else "csv", digest, zone)


def read_text(path: Path) -> str:
    """The text of an import file: at most 64 MB of UTF-8. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), [Mistake("file", f"expected a readable file: {error.strerror}")]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(str(path), [Mistake("file", "expected at most 64 MB [too_large]")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), [Mistake(f"line {line}", "expected UTF-8 text [bad_format]")]) from None


def parse(text: str, form: str, digest: Digester, zone: tzinfo | None = None) -> Parsed:
    """Changes and mistakes of an import text; `form` is "csv" or "json"."""
    changes, mistakes, _ = parse_whole(text, form, digest, zone)
    return changes, mistakes


def parse_whole(
    text: str, form: str, digest: Digester, zone: tzinfo | None = None
) -> tuple[list[Change], list[Mistake], frozenset[Type]]:
    """As `parse`, with the types that the text speaks of: a list that replaces says nothing about the others."""
    reader = _Reader(digest, zone)
    if form == "json":
        reader.document(text)
    else:
        reader.table(text)
    return reader.changes, reader.mistakes, frozenset(reader.types)


class _Reader:
    """Collects changes and mistakes; a wrong row is reported and left out."""

    def __init__(self, digest: Digester, zone: tzinfo | None) -> None:
        self._digest = digest
        self._zone = zone
        self._seen: dict[object, str] = {}
        self.changes: list[Change] = []
        self.mistakes: list[Mistake] = []
        self.types: set[Type] = set()

    def table(self, text: str) -> None:
        """A CSV text: the first line names the columns."""
        self.types.add(Type.CREDENTIAL)
        lines = io.StringIO(text, newline="")
        header = [name.strip() for name in self._cells("line 1", next(lines, "")) or []]
        unknown = [name for name in header if name not in COLUMNS]
        missing = [name for name in ("person", "method") if name not in header]
        if unknown or missing or len(set(header)) != len(header) or not {"value", "digest"} & set(header):
            if not self.mistakes:
                self._mistake(
                    "line 1", f"expected a header of {', '.join(COLUMNS)}; person, method and value are needed"
                )
            return
        for number, line in enumerate(lines, 2):
            where = f"line {number}"
            row = self._cells(where, line)
            if not row:
                continue
            if len(row) != len(header):
                self._mistake(where, f"expected {len(header)} fields, found {len(row)}")
                continue
            cells = {name: cell for name, cell in zip(header, row, strict=True) if cell != ""}
            self._row(where, cells, self._credential)

    def _cells(self, where: str, line: str) -> list[str] | None:
        """The cells of one line. No cell holds a line break, so a missing quote spoils its own line alone."""
        try:
            return next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            self._mistake(where, f"expected well-formed CSV: {error}")
            return None

    def document(self, text: str) -> None:
        """A JSON text: an object with any of the known sections."""
        document = self._json(text)
        if not isinstance(document, dict) or (unknown := set(document) - {*SECTIONS, *history.SECTIONS}):
            what = f", found {', '.join(sorted(map(str, unknown)))}" if isinstance(document, dict) else ""
            if not self.mistakes:
                self._mistake("file", f"expected an object with {', '.join((*SECTIONS, *history.SECTIONS))}{what}")
            return
        self.types.update(SECTIONS[name] for name in document if name in SECTIONS)
        for section, shape in (
            ("credentials", self._credential), ("passes", self._pass), ("deleted", self._deleted),
            ("withdrawn", self._withdrawn),
        ):  # fmt: skip
            for n, row in enumerate(self._section(document, section, list, "a list")):
                self._row(f"{section}[{n}]", row, shape)
        for section in ("schedules", "holidays", "blocks"):
            for name, doc in self._section(document, section, dict, "an object with names as keys").items():
                self._item(section, SECTIONS[section], name, doc)
        for name, value in self._section(document, "uses", dict, "an object with names as keys").items():
            self._one(f"uses.{name}", partial(history.read_uses, name, value))
        for n, group in enumerate(self._section(document, "lockdown", list, "a list")):
            self._one(f"lockdown[{n}]", partial(history.read_group, group))

    def _section(self, document: dict[str, Any], name: str, shape: type[S], expected: str) -> S:
        section = document.get(name, shape())
        if isinstance(section, shape):
            return section
        self._mistake(name, f"expected {expected}")
        return shape()

    def _one(self, where: str, read: Callable[[], Change]) -> None:
        try:
            self.changes.append(read())
        except WrongField as error:
            self._mistake(where, error.args[1])

    def _deleted(self, _: str, row: dict[str, Any]) -> Change:
        return history.read_deleted(row)

    def _withdrawn(self, _: str, row: dict[str, Any]) -> Change:
        return history.read_withdrawn(row)

    def _json(self, text: str) -> object:
        try:
            return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        except WrongField as error:
            self._mistake("file", str(error.args[1]))
        except RecursionError:
            self._mistake("file", "expected at most a few levels of nesting")
        except ValueError as error:
            self._mistake(f"line {getattr(error, 'lineno', 1)}", f"expected JSON: {getattr(error, 'msg', 'number')}")
        return None

    def _row(self, where: str, row: object, shape: Callable[[str, dict[str, Any]], Change]) -> None:
        if not isinstance(row, dict):
            self._mistake(where, "expected an object")
            return
        try:
            self.changes.append(shape(where, {k: v for k, v in row.items() if v is not None}))
        except WrongField as error:
            self._mistake(f"{where}, {error.args[0]}", error.args[1])

    def _credential(self, where: str, row: dict[str, Any]) -> Change:
        fields.only_known(row, COLUMNS)
        method = fields.word(row, "method", METHODS)
        put = CredentialPut(
            digest=self._digest_of(row, method),
            person=fields.text(row, "person", needed=True),
            kind=fields.word(row, "kind", KINDS, PersonKind.OWNER),
            method=method,
            groups=fields.door_groups(row),
            status=fields.word(row, "status", STATUSES, Status.ACTIVE),
            valid_from=self._time(row, "valid_from"),
            valid_to=self._time(row, "valid_to"),
            schedule=fields.text(row, "schedule"),
            use_limit=fields.whole_number(row, "use_limit", 1),
            uses=fields.whole_number(row, "uses", 0) or 0,
            duress=fields.yes(row, "duress"),
            rev=fields.whole_number(row, "rev", 1),
            id=fields.text(row, "id"),
            mask=fields.text(row, "mask"),
            consent=fields.word(row, "consent", CONSENTS) if "consent" in row else None,
            consent_rev=fields.whole_number(row, "consent_rev", 0),
            face=str(row["value"]) if method is Method.FACE and "value" in row else "",
        )
        fields.in_order(put.valid_from, put.valid_to)
        self._once(put.digest, where, "value")
        if put.id:
            self._once(put.id, where, "id")
        return put

    def _pass(self, where: str, row: dict[str, Any]) -> Change:
        fields.only_known(row, PASS_KEYS)
        number = fields.whole_number(row, "pass_id", 0)
        if number is None or number >= 1 << 32:
            raise WrongField("pass_id", "expected a number from 0 to 4294967295")
        secret = fields.hex_bytes(row, "secret", 32)
        put = PassPut(
            pass_id=number,
            groups=fields.door_groups(row),
            status=fields.word(row, "status", STATUSES, Status.ACTIVE),
            secret=secret,
            valid_from=self._time(row, "valid_from"),
            valid_to=self._time(row, "valid_to"),
            use_limit=fields.whole_number(row, "use_limit", 1),
            uses=fields.whole_number(row, "uses", 0) or 0,
            person=fields.text(row, "person"),
            rev=fields.whole_number(row, "rev", 1),
            id=fields.text(row, "id"),
        )
        fields.in_order(put.valid_from, put.valid_to)
        self._once(("pass", number), where, "pass_id")
        self._once(("pass id", put.id or pass_name(number)), where, "id")
        return put

    def _item(self, section: str, kind: Type, name: str, doc: object) -> None:
        where = f"{section}.{name}"
        if not 1 <= len(name) <= fields.MAX_TEXT or not name.isprintable():
            self._mistake(section, f"expected names of 1 to {fields.MAX_TEXT} printable characters")
            return
        try:
            if kind is Type.HOLIDAY_SET:
                doc = {"dates": doc}
            elif kind is Type.BLOCK:
                doc = {"until": None if doc is None else self._time({"until": doc}, "until")}
            self.changes.append(ItemPut(kind, name, doc if isinstance(doc, dict) else {"": doc}))
        except WrongField as error:
            self._mistake(where, error.args[1])
        except ValueError as error:
            self._mistake(where, f"expected a valid document: {error}")

    def _digest_of(self, row: Mapping[str, Any], method: Method) -> bytes:
        if ("value" in row) == ("digest" in row):
            raise WrongField("value", "expected either a value or a digest")
        if "digest" in row:
            return fields.hex_bytes(row, "digest", 16) or b""
        value = row["value"]
        try:
            return self._digest(method, value if isinstance(value, str) else "")
        except ValueError as error:
            raise WrongField("value", f"expected text: {error}") from None

    def _time(self, row: Mapping[str, Any], name: str) -> float | None:
        """ISO 8601 with an offset; or a date, which means its first moment, or its last for the end of a validity."""
        text = row.get(name)
        if text is None:
            return None
        wrong = WrongField(name, "expected a time such as 2026-10-01T08:00:00+08:00, or a date")
        if not isinstance(text, str) or not text.isascii() or len(text) > 40:
            raise wrong
        try:
            moment = datetime.fromisoformat(text)
            if len(text) == 10:
                moment = datetime.combine(moment.date(), time(), self._zone)
                if name != "valid_from":
                    moment = datetime.combine(moment.date() + timedelta(days=1), time(), self._zone)
            stamp = moment.timestamp()
        except (ValueError, OverflowError):
            raise wrong from None
        if moment.tzinfo is None and len(text) == 10:
            raise WrongField(name, "expected a time with an offset: a date alone needs the site's --timezone")
        if moment.tzinfo is None:
            raise wrong
        return stamp

    def _once(self, key: object, where: str, column: str) -> None:
        first = self._seen.setdefault(key, where)
        if first != where:
            raise WrongField(column, f"expected each credential once; the same stands at {first}")

    def _mistake(self, where: str, expected: str) -> None:
        self.mistakes.append(Mistake(where, expected))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise WrongField("file", "expected each key once in an object")
    return table


def _no_number(name: str) -> float:
    raise WrongField("file", f"expected a number, found {name}")
