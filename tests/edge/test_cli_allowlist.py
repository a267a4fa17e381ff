import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lintel.edge import control
from lintel.edge.cli.allowlist import app
from lintel.edge.digests import Digester
from lintel.edge.errors import StoreError
from lintel.edge.model import Method, Stream
from lintel.edge.store import Store, derive, state_key, state_lock

CSV = "person,method,value,groups,mask\nper_1,card,0a1b,north,王**\nper_2,qr,CANARY-7,north pool,\n"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "list.csv").write_text(CSV)
    return tmp_path / "state"


def invoke(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def test_import_show_export_import(state: Path, tmp_path: Path) -> None:
    done = invoke("import", tmp_path / "list.csv", "--state", state, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["put"] == 2
    facts = json.loads(invoke("show", "--state", state, "--json").output)
    assert (facts["credentials"], facts["fault"]) == (2, False)
    assert "王**" in invoke("show", "--state", state, "--person", "per_1").output
    for name in ("out.csv", "out.json"):
        assert invoke("export", tmp_path / name, "--state", state).exit_code == 0
        text = (tmp_path / name).read_text()
        assert "CANARY" not in text
        assert "0a1b," not in text.lower()
        other = tmp_path / f"other-{name}"
        (tmp_path / name).rename(tmp_path / f"again-{name}")
        done = invoke("import", tmp_path / f"again-{name}", "--state", other, "--json")
        assert json.loads(done.output)["put"] == 2

    async def check() -> None:
        store = Store.open(state, state_key(state))
        digest = Digester(derive(state_key(state), "digest"))
        found = store.allowlist.find(digest(Method.CARD, "0A1B"))
        assert found is not None
        assert found.person == "per_1"
        await store.close()

    asyncio.run(check())


def test_wrong_rows_apply_nothing_unless_partial(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(CSV + "per_3,cart,1,north,\n")
    done = invoke("import", file, "--state", state)
    assert done.exit_code == 1
    assert "line 4, method" in done.output
    assert json.loads(invoke("show", "--state", state, "--json").output)["credentials"] == 0
    assert invoke("import", file, "--state", state, "--partial", "--replace").exit_code == 1
    assert json.loads(invoke("show", "--state", state, "--json").output)["credentials"] == 0
    assert invoke("import", file, "--state", state, "--partial").exit_code == 1
    assert json.loads(invoke("show", "--state", state, "--json").output)["credentials"] == 2


def test_a_list_called_whole_after_a_loss_is_audited_without_a_gateway_too(state: Path, tmp_path: Path) -> None:
    async def lose() -> None:
        store = Store.open(state, state_key(state))
        await store.writer.submit(lambda conn: conn.execute("INSERT INTO state VALUES ('fault', '1')").rowcount)
        await store.close()

    state.mkdir(mode=0o700)
    asyncio.run(lose())
    assert invoke("import", tmp_path / "list.csv", "--state", state, "--replace").exit_code == 0
    assert json.loads(invoke("show", "--state", state, "--json").output)["fault"]
    assert invoke("import", tmp_path / "list.csv", "--state", state, "--recovered").exit_code == 1
    assert invoke("import", tmp_path / "list.csv", "--state", state, "--replace", "--recovered").exit_code == 0
    assert not json.loads(invoke("show", "--state", state, "--json").output)["fault"]

    async def audited() -> list[str]:
        store = Store.open(state, state_key(state))
        rows = [row.event.detail for row in store.journal.export(Stream.AUDIT)]
        await store.close()
        return rows

    assert ["called the whole list" in detail for detail in asyncio.run(audited())] == [False, True, True]


def test_the_running_gateway_imports_itself(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def call(state_dir: Path, method: str, params: dict) -> object:
        asked.append((state_dir, method, sorted(params)))
        return {"put": 2, "deleted": 0, "kept": 0, "mistakes": []}

    monkeypatch.setattr(control, "call", call)
    state.mkdir()
    with state_lock(state):
        assert invoke("import", tmp_path / "list.csv", "--state", state).exit_code == 0
    assert asked == [(state, "allowlist.import", ["form", "partial", "recovered", "replace", "text"])]


def test_no_store_is_said(state: Path, tmp_path: Path) -> None:
    done = invoke("show", "--state", state)
    assert isinstance(done.exception, StoreError)
    assert done.exception.word == "no_store"
    assert not state.exists()


@pytest.mark.parametrize(
    ("language", "word"), [("C", "lintel allowlist import"), ("zh_CN.UTF-8", "lintel allowlist import")]
)
def test_help_has_an_example(language: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", language)
    done = invoke("import", "--help")
    assert done.exit_code == 0
    assert word in done.output
