"""What the control socket answers about imports and lockdown, over a real store and gate."""

import asyncio
import threading
import time
from types import SimpleNamespace
from zoneinfo import ZoneInfo

from lintel.edge import answers as module
from lintel.edge.answers import Answers
from lintel.edge.errors import StoreError
from lintel.edge.model import Fact, Notice, Stream

from .rig import Rig

LIST = "person,method,value,groups\nalice,qr,alice,public\n"


def answers(rig: Rig) -> Answers:
    config = SimpleNamespace(zone=ZoneInfo("UTC"), state_dir=rig.path)
    return Answers(config, rig.store, rig.gate, rig.clock, rig.health, rig.digest, [])  # type: ignore[arg-type]


def rows(rig: Rig, what: str) -> list[tuple[str, str]]:
    return [(e.result, e.detail) for e in rig.events(Stream.AUDIT) if e.type == what]


def test_the_alarm_of_a_loss_stands_until_an_operator_calls_a_list_whole(tmp_path):
    async def lost(rig):
        await rig.allow("alice")
        await rig.store.writer.submit(lambda conn: conn.execute("INSERT INTO state VALUES ('restored', '1')").rowcount)

    async def main():
        async with Rig(tmp_path) as rig:
            await lost(rig)
        async with Rig(tmp_path) as rig:
            for notice, detail in rig.store.notices:
                rig.gate.ledger.report(Fact(notice, detail=detail))
            assert list(rig.health.standing) == ["db_restored"]
            ask = answers(rig)
            await ask._import({"text": LIST, "form": "csv"})
            await ask._import({"text": LIST, "form": "csv", "replace": True})
            assert list(rig.health.standing) == ["db_restored"]
            await ask._import({"text": LIST, "form": "csv", "replace": True, "recovered": True})
            assert not rig.health.standing
            await rig.flush()
            said = [detail for _, detail in rows(rig, "allowlist.import")]
            assert [", called the whole list after a loss" in detail for detail in said] == [False, False, True]

    asyncio.run(main())


def test_a_lockdown_that_can_not_be_stored_holds_and_says_so(tmp_path):
    async def main():
        async with Rig(tmp_path) as rig:
            await rig.allow("alice")
            rig.store.writer._fault = StoreError("disk_full", "as if the disk were full")
            rig.store.writer._attempt = time.monotonic() + 3600
            answer = await answers(rig)._lockdown({"groups": [], "on": True})
            assert answer == {"lockdown": ["public"], "durable": False}
            await rig.gate.present(rig.reading("alice"))
            await rig.gate.drain(10)
            assert not rig.lock.orders
            rig.store.writer._attempt = 0.0
            async with asyncio.timeout(30):
                while rig.store.allowlist.lockdown.waiting():
                    await asyncio.sleep(0.02)
            assert [e.reason for e in rig.decisions()] == ["lockdown"]
            assert (await answers(rig)._lockdown({"groups": ["public"], "on": False}))["durable"]
            assert await rig.present("alice") == "granted"

    asyncio.run(main())


def test_an_import_ends_no_alarm_of_damaged_pages(tmp_path):
    async def main():
        async with Rig(tmp_path) as rig:
            rig.gate.ledger.report(Fact(Notice.DB_DAMAGED, detail="as the daily check says"))
            for more in ({}, {"replace": True}, {"replace": True, "recovered": True}):
                await answers(rig)._import({"text": LIST, "form": "csv", **more})
            assert list(rig.health.standing) == ["db_damaged"]

    asyncio.run(main())


def test_a_lockdown_is_answered_and_written_down_while_the_disk_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT_S", 0.1)

    async def main():
        async with Rig(tmp_path) as rig:
            await rig.allow("alice")
            hung, mended = threading.Event(), threading.Event()
            rig.store.writer.submit(lambda _: (hung.set(), mended.wait(60)), now=True, lone=True)
            assert await asyncio.to_thread(hung.wait, 30)
            try:
                async with asyncio.timeout(30):
                    answer = await answers(rig)._lockdown({"groups": [], "on": True})
                assert answer == {"lockdown": ["public"], "durable": False}
            finally:
                mended.set()
            await rig.flush()
            assert not rig.store.allowlist.lockdown.waiting(), "stored when the disk answered"
            assert rows(rig, "lockdown") == [("on", "public")]

    asyncio.run(main())
