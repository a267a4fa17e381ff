import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lintel.edge.digests import Digester
from lintel.edge.errors import ConfigError
from lintel.edge.model import Method, Status
from lintel.edge.store import CredentialPut, ItemPut, PassPut, transfer

from .helpers import DIGEST

HEAD = "person,method,value,groups,valid_to\n"


def mistakes(text: str, form: str = "csv") -> list[tuple[str, str]]:
    return [(m.where, m.expected) for m in transfer.parse(text, form, DIGEST)[1]]


def test_csv_is_read_and_digested_at_once() -> None:
    text = HEAD + "per_1,card,0a1b2c,north pool,2026-10-01\nper_2,qr,ABC,,2026-10-01T08:00:00+08:00\n"
    changes, wrong = transfer.parse(text, "csv", DIGEST, ZoneInfo("Asia/Shanghai"))
    assert wrong == []
    first, second = changes
    assert isinstance(first, CredentialPut)
    assert isinstance(second, CredentialPut)
    assert first.digest == DIGEST(Method.CARD, "0A1B2C")
    assert first.groups == ("north", "pool")
    assert first.valid_to == datetime(2026, 10, 1, 16, tzinfo=UTC).timestamp(), "the last day is included"
    assert second.valid_to == datetime(2026, 10, 1, 0, tzinfo=UTC).timestamp()
    assert "0a1b2c" not in repr(changes)
    assert "0A1B2C" not in repr(changes)


@pytest.mark.parametrize(
    ("row", "where"),
    [
        ("per_1,card", "line 2"),
        (",card,1,g,", "line 2, person"),
        ("per_1,cart,1,g,", "line 2, method"),
        ("per_1,card,,g,", "line 2, value"),
        ("per_1,card,é,g,", "line 2, value"),
        ("per_1,card," + "1" * 129 + ",g,", "line 2, value"),
        ("per_1,card,1,g,tomorrow", "line 2, valid_to"),
        ("per_1,card,1,g,2026-10-01T08:00:00", "line 2, valid_to"),
        ("per\x07,card,1,g,", "line 2, person"),
        ('per_1,card,"1,g,', "line 2"),
    ],
)
def test_a_wrong_row_is_told_with_line_and_column(row: str, where: str) -> None:
    found = mistakes(HEAD + row + "\n")
    assert len(found) == 1
    assert found[0][0] == where
    assert found[0][1].startswith("expected")


def test_a_missing_quote_spoils_its_own_line_alone() -> None:
    """A quote that is never closed swallowed the rest of the file: what stood there was neither read nor reported."""
    text = (
        HEAD
        + 'per_1,card,1,g,\nper_2,card,"2,g,\nper_3,card,3,g,\nper_4,cart,4,g,\nper_5,card,"5"x,g,\nper_6,card,6,g,\n'
    )
    changes, wrong = transfer.parse(text, "csv", DIGEST)
    assert [c.person for c in changes if isinstance(c, CredentialPut)] == ["per_1", "per_3", "per_6"]
    assert [m.where for m in wrong] == ["line 3", "line 5, method", "line 6"]
    assert [m.where for m in transfer.parse('"person,method,value\na,card,1\n', "csv", DIGEST)[1]] == ["line 1"]


def test_no_mistake_quotes_a_credential() -> None:
    found = mistakes(HEAD + "per_1,card,SECRET\x00VALUE,g,\nper_1,card,4711,g,\nper_2,card,4711,g,\n")
    assert [w for w, _ in found] == ["line 2, value", "line 4, value"]
    assert "SECRET" not in str(found)
    assert "4711" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        '{"credentials": [{"person": "a", "person": "b"}]}',
        '{"credentials": [], "credentials": []}',
        '{"x": 1}',
        '{"credentials": {}}',
        '{"credentials": [7]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "colour": "red"}]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "use_limit": NaN}]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "use_limit": true}]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "use_limit": 0}]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "groups": ["a b"]}]}',
        '{"credentials": [{"person": "a", "method": "qr", "digest": "abc"}]}',
        '{"credentials": [{"person": "a", "method": "qr", "value": "1", "digest": "' + "0" * 32 + '"}]}',
        '{"passes": [{"pass_id": 4294967296}]}',
        '{"passes": [{"pass_id": 1, "secret": "00"}]}',
        '{"schedules": {"day": {"someday": []}}}',
        '{"holidays": {"cn": ["2026-02-30"]}}',
        '{"blocks": {"per_1": "soon"}}',
        '{"credentials": null}',
        '{"passes": [{"pass_id": 1, "id": "a"}, {"pass_id": 2, "id": "a"}]}',
        '{"passes": [{"pass_id": 1}, {"pass_id": 2, "id": "vp_1"}]}',
        '{"deleted": [{"type": "door", "id": "a"}]}',
        '{"deleted": [{"type": "block", "id": ""}]}',
        '{"deleted": [{"type": "block", "id": "a", "why": "replaced"}]}',
        '{"uses": {"vp_4294967296": 1}}',
        '{"uses": {"vp_1": -1}}',
        '{"uses": {"per_1": 1}}',
        '{"uses": [1]}',
        '{"lockdown": ["a b"]}',
        '{"lockdown": "north"}',
        "[" * 100_000,
        "[]",
        "",
    ],
)
def test_wrong_json_is_told(text: str) -> None:
    found = mistakes(text, "json")
    assert len(found) == 1
    assert found[0][1].startswith("expected")


def test_json_carries_everything() -> None:
    document = {
        "credentials": [{"person": "per_1", "method": "pin", "value": "1234", "status": "suspended", "rev": 4}],
        "passes": [{"pass_id": 9, "secret": "ab" * 32, "groups": ["north"], "use_limit": 1}],
        "schedules": {"day": {"mon-fri": ["08:00-18:00"]}},
        "holidays": {"cn": ["2026-10-01"]},
        "blocks": {"per_9": None, "per_8": "2026-10-01"},
    }
    text = json.dumps(document)
    assert mistakes(text, "json") == [
        ("blocks.per_8", "expected a time with an offset: a date alone needs the site's --timezone")
    ]
    changes, wrong = transfer.parse(text, "json", DIGEST, ZoneInfo("Asia/Shanghai"))
    assert wrong == []
    assert [type(c) for c in changes] == [CredentialPut, PassPut, ItemPut, ItemPut, ItemPut, ItemPut]
    first = changes[0]
    assert isinstance(first, CredentialPut)
    assert (first.status, first.rev) == (Status.SUSPENDED, 4)
    assert "abab" not in repr(changes)


def test_files_are_bounded_and_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbf" + HEAD.encode() + b"per_1,qr,A,g,\n")
    changes, wrong = transfer.read_import(file, Digester(bytes(32)))
    assert (len(changes), wrong) == (1, [])
    file.write_bytes(HEAD.encode() + b"per_\xff,qr,A,g,\n")
    with pytest.raises(ConfigError, match="line 2"):
        transfer.read_import(file, DIGEST)
    monkeypatch.setattr(transfer, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="too_large"):
        transfer.read_import(file, DIGEST)
    with pytest.raises(ConfigError, match="readable"):
        transfer.read_import(tmp_path / "none.csv", DIGEST)
