"""Rows A1 to A3 and B4 through the pty of a running daemon: refused, recorded, and the next valid code passes."""

import asyncio
import hashlib
import random
import time
from pathlib import Path

from lintel.edge.store.reading import reading

from .invariants import finish, vitals
from .people import visitor
from .site import LIMIT, run

INJECTIONS = ["' OR 1=1 --", '"; DROP TABLE credential;--', "%00", "{{7*7}}", "$(reboot)", "../../etc/passwd"]
BYTES = [
    b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x82\x82\xac", b"CANARY\x00res0", b"\xe2\x80\xaeres0", "１２３".encode(),
    "١٢٣".encode(), "²".encode(),
]  # fmt: skip


def content(state):
    """The schema and a digest of every table that decides, as an independent reader sees them."""
    with reading(state) as database:
        conn = database.reader
        schema = conn.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        tables = ("credential", "person", "visitor_pass", "site_item", "use_count")
        rows = {t: conn.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables}
    return hashlib.sha256(repr((schema, rows)).encode()).hexdigest()


async def stream(site, data):
    """Much data, in pieces; what the line can not take at the moment is sent again."""
    for at in range(0, len(data), 1024):
        await heard(site, data[at : at + 1024])


async def heard(site, data):
    async with asyncio.timeout(LIMIT):
        while not (await site.raw(data))["heard"]:
            await asyncio.sleep(0.05)


def children(pid):
    return [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]


def test_a1_a3_injections_and_bytes_that_are_no_text_are_refused_and_the_next_code_passes():
    async def body(site):
        assert await site.resident() == "granted"
        before, was = vitals(site.pid), content(site.state)
        for n, text in enumerate(INJECTIONS):
            await asyncio.sleep(1.05 * (n >= 5))  # five refused frames are written down at once, then one a second
            assert await site.scan(text) == "bad_format"
            assert await site.resident() == "granted"
        for n, raw in enumerate(BYTES):
            await asyncio.sleep(1.05 * (n >= 5))
            site.presented += 1
            await site.raw(raw + b"\r\n", "back")
            assert await site.decision("back") == "bad_format"
            assert await site.resident("back") == "granted"
            assert children(site.pid) == []
        for text in INJECTIONS:
            assert await site.shown(text) == "bad_format", "a terminal is no better a source"
            assert await site.shown("CANARY-res0-7f3a") == "granted"
        assert content(site.state) == was
        decisions = await finish(site, before)
        refused = [e for e in decisions if e.reason == "bad_format"]
        kept = [e.detail for e in refused]
        assert [d for d in kept if len(d) > 200 or not d.isprintable() or not d.isascii()] == []
        assert {e.person for e in refused} == {""}

    run(body, line="rate = 1000.0\nburst = 1000")


def test_a1_control_a_changed_row_is_seen():
    async def body(site):
        was = content(site.state)
        await site.ask("lockdown", groups=["gate"], on=True)
        row = '{"credentials": [{"person": "x", "kind": "owner", "method": "qr", "value": "x1", "groups": ["public"]}]}'
        await site.ask("allowlist.import", text=row, form="json")
        assert content(site.state) != was

    run(body, devices=False)


def test_a2_over_long_codes_cost_one_row_and_the_reader_is_in_step_again_at_once():
    async def body(site):
        assert await site.resident() == "granted"
        before = vitals(site.pid)
        sizes = {"3 kB": 3_000, "64 kB": 64_000, "1 MB": 1_000_000}
        for size in sizes.values():
            await stream(site, b"A" * size + b"\r\n")
            assert await site.decision("gate") == "bad_format"
            assert await site.resident() == "granted"
        await stream(site, b"B" * 1_000_000)
        assert await site.decision("gate") == "bad_format", "told when the limit is passed, not at the end"
        await site.raw(b"\r\n")
        assert await site.resident() == "granted"
        await asyncio.sleep(5.0)  # the allowance for refused frames is full again
        begun = time.monotonic()
        await stream(site, (b"C" * 600 + b"\r") * 1000)
        await site.event(type="access.decision", door="gate", reason="bad_format")
        start = time.monotonic()
        site._taken = len(site.feed)
        await heard(site, visitor_code())
        found = await site.event(type="access.decision", reason="granted")
        end = time.monotonic()
        print("the valid code after 1,000 over-long ones took", end - start, found["credential"])
        decisions = await finish(site, before, presentations=-1)
        told = [e.reason for e in decisions].count("bad_format")
        assert told <= 4 + 5 + (end - begun) + 1, "a flood is counted: five at once, then one a second"

    run(body)


def visitor_code():
    """A signed pass: a reader that is in back-off for opaque codes still checks it."""
    return b"\r\n" + visitor().encode() + b"\r\n"


def test_b4_random_bytes_then_a_good_code():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)

    async def body(site):
        assert await site.resident() == "granted"
        before = vitals(site.pid)
        for _ in range(20):
            await site.raw(rng.randbytes(rng.randrange(1, 4000)))
        await heard(site, b"\r\n")
        site._taken = len(site.feed)
        await heard(site, visitor_code())
        await site.event(type="access.decision", reason="granted")
        decisions = await finish(site, before, presentations=-1)
        assert {e.reason for e in decisions} <= {"granted", "bad_format", "rate_limited", "unknown_credential"}
        # opaque noise inside the alphabet is a wrong guess like any other
        assert [e.reason for e in decisions].count("granted") == 2

    run(body)
