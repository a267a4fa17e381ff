import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lintel.edge.cli.journal import app
from lintel.edge.store import Store, state_key

from .store.helpers import event


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    async def fill() -> None:
        store = Store.open(tmp_path, state_key(tmp_path))
        await asyncio.gather(*(store.journal.append(event(i)) for i in range(40)))
        await store.close()

    asyncio.run(fill())
    return tmp_path


def invoke(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def test_verify_export_tail(state: Path) -> None:
    done = invoke("verify", "--state", state)
    assert (done.exit_code, done.output) == (0, "40 events, none touched\n")
    lines = [json.loads(line) for line in invoke("export", "--state", state, "--since", 30).output.splitlines()]
    assert [line["seq"] for line in lines] == list(range(31, 41))
    assert lines[0]["person"] == "per_30"
    tail = invoke("tail", "-n", 3, "--state", state).output.splitlines()
    assert [line.split()[0] for line in tail] == ["38", "39", "40"]
    assert json.loads(invoke("tail", "-n", 1, "--json", "--state", state).output)["person"] == "per_39"


def test_a_cut_tail_is_told_with_its_place(state: Path) -> None:
    async def cut() -> None:
        store = Store.open(state, state_key(state))
        await store.writer.submit(lambda conn: conn.execute("DELETE FROM journal WHERE place & 1048575 > 20"), now=True)
        await store.close()

    asyncio.run(cut())
    done = invoke("verify", "--state", state)
    assert done.exit_code == 1
    assert "audit_broken: access epoch 1 seq 21" in done.output
    answer = json.loads(invoke("verify", "--state", state, "--json").output)
    assert (answer["ok"], answer["word"], answer["breaks"][0]["seq"]) == (False, "audit_broken", 21)


def test_reads_beside_a_running_gateway(state: Path) -> None:
    async def main() -> None:
        store = Store.open(state, state_key(state))
        stored = await store.journal.append(event(99), now=True)
        done = await asyncio.to_thread(invoke, "tail", "-n", 1, "--json", "--state", state)
        assert json.loads(done.output)["person"] == "per_99"
        verified = await asyncio.to_thread(invoke, "verify", "--state", state)
        assert (stored, verified.exit_code) == (41, 0)
        await store.close()

    asyncio.run(main())
