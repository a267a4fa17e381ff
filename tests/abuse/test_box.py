"""Rows E6, E11 and E13 end to end: a clock that jumps under a running daemon, a touched journal, a newer database."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lintel.edge.cli.journal import app
from lintel.edge.model import Stream
from lintel.edge.store import Store, chain, derive, state_key
from lintel.edge.store import database as db
from tests.edge.store.helpers import event
from tests.system.invariants import finish, vitals
from tests.system.people import visitor
from tests.system.site import run

DAY = 86_400.0
YEAR = 365 * DAY
SHIFTED = str(Path(__file__).parent / "shifted.py")
EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.toml"


# ---- E6


def jumping(body, tmp_path, **options):
    """`body(site, clock)` with a daemon whose wall clock is `clock(seconds)` off, as soon as it looks again."""
    file = tmp_path / "shift"

    def clock(seconds, boot=""):
        file.with_suffix(".new").write_text(f"{seconds} {boot}")
        file.with_suffix(".new").replace(file)

    clock(0)
    run(body, clock, main=(SHIFTED,), env={"SHIFT": str(file)}, **options)


def over(number):
    """A pass that ended ten minutes ago, and was in force yesterday."""
    return visitor(pass_id=number, start=-2 * DAY, minutes=int(2 * DAY / 60) - 10)


def test_e6_back_a_day_and_ten_years_expired_stays_expired(tmp_path):
    async def body(site, clock):
        before = vitals(site.pid)
        assert await site.scan(visitor(pass_id=50)) == "granted"
        assert await site.scan(over(60)) == "expired"
        for n, back in enumerate((DAY, 10 * YEAR), 1):
            clock(-back)
            await asyncio.sleep(0.05)
            assert await site.scan(over(60 + n)) == "expired"
            assert await site.shown(visitor(pass_id=50 + n)) == "granted", "time goes on from where it was"
            assert await site.resident() == "granted"
            assert (await site.ask("status"))["clock"] == "holdover"
        await site.seen(reason="clock_stepped")
        assert [e.reason for e in await finish(site, before)].count("granted") == 5

    jumping(body, tmp_path)


def test_e6_forward_ten_years_is_not_believed_and_leaves_no_floor(tmp_path):
    async def body(site, clock):
        assert await site.scan(visitor(pass_id=50)) == "granted"
        clock(10 * YEAR)
        await asyncio.sleep(0.05)
        in_ten_years = visitor(pass_id=51, start=10 * YEAR - 600, minutes=60)
        assert await site.scan(in_ten_years) == "clock_untrusted"
        assert await site.shown(visitor(pass_id=52)) == "clock_untrusted"
        assert await site.resident() == "granted"
        await site.seen(reason="clock_unknown")
        assert (await site.ask("status"))["clock"] == "unknown"
        clock(0)
        await asyncio.sleep(2.1)  # asked every two seconds
        assert await site.scan(visitor(pass_id=53)) == "granted", "the floor is not in ten years"
        assert await site.scan(in_ten_years) == "not_yet_valid"
        await finish(site)

    jumping(body, tmp_path)


def test_e6_a_box_without_a_clock_chip_wakes_up_in_1970(tmp_path):
    async def body(site, clock):
        assert await site.scan(visitor(pass_id=50)) == "granted"
        assert await site.stop() == 0
        floor = json.loads((site.state / "clock.json").read_text())["wall"]
        clock(3600 - time.time(), "boot-2")
        site.feed.clear()
        site._taken = 0
        await site.start()
        assert (await site.ask("status"))["clock"] == "unknown"
        assert await site.scan(visitor(pass_id=51)) == "clock_untrusted"
        assert await site.scan(over(60)) == "clock_untrusted"
        assert await site.resident() == "granted"
        decisions = await finish(site)
        assert json.loads((site.state / "clock.json").read_text())["wall"] >= floor
        assert [e.ts for e in decisions] == sorted(e.ts for e in decisions), "no decision before the last one"

    jumping(body, tmp_path)


# ---- E11


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A stopped gateway's state with 60 events in a chain."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    state = tmp_path / "state"
    state.mkdir()
    more(state, 60)
    return state


def more(state, count):
    async def fill():
        store = Store.open(state, state_key(state))
        await asyncio.gather(*(store.journal.append(event(i)) for i in range(count)))
        await store.close()

    asyncio.run(fill())


def place(seq):
    return chain.place_of(Stream.ACCESS, 1, seq)


FORGED = chain.pack(chain.encode(event(999, reason="granted")))
EDITS = {
    "a row is edited": [("UPDATE journal SET body = ? WHERE place = ?", FORGED, place(30))],
    "a row is removed": [("DELETE FROM journal WHERE place = ?", place(30))],
    "a row is inserted": [("INSERT INTO journal VALUES (?, ?, ?)", place(61), FORGED, bytes(32))],
    "two rows are swapped": [
        ("UPDATE journal SET place = 1 WHERE place = ?", place(30)),
        ("UPDATE journal SET place = ? WHERE place = ?", place(30), place(31)),
        ("UPDATE journal SET place = ? WHERE place = 1", place(31)),
    ],
    "the tail is cut": [("DELETE FROM journal WHERE place > ?", place(50))],
}


def verified(state):
    """What `lintel journal verify` says: its exit code and its answer."""
    done = CliRunner().invoke(app, ["verify", "--json", "--state", str(state)])
    return done.exit_code, json.loads(done.output)


@pytest.mark.parametrize("edit", EDITS)
def test_e11_the_verify_command_finds_each_edit(journal, edit):
    assert verified(journal)[0] == 0, "control: nothing is found where nothing was done"
    database = db.Database(journal / "lintel.db", derive(state_key(journal), "database"))
    conn = database.connect()
    for sql, *values in EDITS[edit]:
        conn.execute(sql, values)
    database.close()
    conn.close()
    code, answer = verified(journal)
    assert (code, answer["ok"], answer["word"]) == (1, False, "audit_broken")
    assert {b["stream"] for b in answer["breaks"]} == {"access"}
    assert answer["breaks"][0]["seq"] in (30, 31, 51, 61)


def test_e11_the_verify_command_finds_yesterdays_database(journal):
    yesterday = (journal / "lintel.db").read_bytes()
    anchors = (journal / "anchors").read_bytes()
    more(journal, 20)
    assert verified(journal)[0] == 0
    (journal / "lintel.db").write_bytes(yesterday)
    code, answer = verified(journal)
    assert (code, answer["word"], answer["breaks"][0]["seq"]) == (1, "audit_broken", 61)
    (journal / "anchors").write_bytes(anchors)
    assert verified(journal)[0] == 0, "control: with the head of yesterday as well, only a head kept elsewhere tells"


# ---- E13


def test_e13_an_older_gateway_refuses_a_newer_database_and_changes_no_byte(journal, tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text(EXAMPLE.read_text("utf-8"))
    database = db.open_database(journal / "lintel.db", derive(state_key(journal), "database"))
    conn = database.connect()
    conn.execute(f"PRAGMA user_version = {db.SCHEMA + 1}")
    database.close()
    conn.close()
    before = {p.name: p.read_bytes() for p in journal.iterdir()}
    commands = {
        "run": ["lintel.edge", str(config)],
        "verify": ["lintel", "journal", "verify", "--state", str(journal)],
    }
    for name, words in commands.items():
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0, name
        assert "Traceback" not in done.stderr, done.stderr
        assert f"schema {db.SCHEMA + 1}" in done.stderr, (name, done.stderr)
        assert {n: (journal / n).read_bytes() for n in before} == before, name


def test_e13_control_the_same_files_of_this_version_are_opened(journal):
    assert verified(journal)[0] == 0
    more(journal, 1)
    assert verified(journal)[1]["rows"] == 61
