"""A presentation grows old while it waits, and what was acted on once is not acted on again."""

import asyncio

from lintel.edge.errors import StoreError
from lintel.edge.gate import UNDER_WAY
from lintel.edge.guessing import Guessing
from lintel.edge.model import Door, Method, Reading, Reason

from .rig import run, visitor


def test_time_in_the_queue_of_a_door_counts_as_age(tmp_path):
    """A lock that does not answer must not let those behind it in minutes after they have left."""
    doors = {"gate": Door("gate", "", frozenset({"public"}), "lock", max_age=5.0)}

    async def body(rig):
        await rig.allow("alice")

        release = asyncio.Event()

        async def stuck(order):
            await release.wait()

        rig.lock.before = stuck
        readings = [rig.reading("alice") for _ in range(UNDER_WAY + 2)]
        receipts = [await rig.gate.present(r) for r in readings]
        await asyncio.gather(*receipts[:UNDER_WAY])
        rig.time.move(6.0)
        release.set()
        await rig.flush()
        await asyncio.wait_for(asyncio.gather(*receipts), 5)
        assert [rig.reason(r.id) for r in readings] == ["granted"] * UNDER_WAY + ["stale_reading"] * 2
        assert len(rig.lock.orders) == UNDER_WAY

    run(body, tmp_path, doors=doors)


def test_an_age_stated_earlier_goes_on_from_then(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        assert await rig.present("alice", age=4.0, mono=rig.time.mono - 5.0) == "granted"
        assert await rig.present("alice", age=4.0, mono=rig.time.mono - 7.0) == "stale_reading"

    run(body, tmp_path)


def test_a_record_whose_commit_failed_leads_to_no_second_order(tmp_path):
    """The device is not acknowledged, sends it again within seconds, and the person is long through the door."""

    async def body(rig):
        await rig.allow("alice")
        append = rig.store.journal.append

        def fails(event, now=False):
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(StoreError("commit_failed", "no"))
            return failed

        rig.store.journal.append = fails
        receipt = await rig.gate.present(rig.reading("alice", record="17"))
        await rig.gate.drain(1)
        await asyncio.wait([receipt])
        assert isinstance(receipt.exception(), StoreError)
        rig.store.journal.append = append
        rig.time.move(1.0)
        assert await rig.present("alice", record="17") == "stale_reading"
        assert len(rig.lock.orders) == 1
        assert await rig.present("alice", record="18") == "granted"

    run(body, tmp_path)


def test_two_thousand_wrong_tries_keep_the_back_off():
    guessing, reading = Guessing(), Reading("evt_1", "door", "reader", Method.CARD, b"", 0.0)
    for _ in range(2000):
        guessing.judge(reading, Reason.UNKNOWN_CREDENTIAL, 100.0)
    assert guessing.limited(reading, 159.0)
    assert not guessing.limited(reading, 161.0)


def test_noise_on_the_line_is_no_guessing():
    guessing, reading = Guessing(), Reading("evt_1", "door", "reader", Method.CARD, b"", 0.0)
    assert not any(guessing.judge(reading, Reason.BAD_FORMAT, 0.0) for _ in range(20))
    assert not guessing.limited(reading, 0.0)


def test_after_a_restored_snapshot_counted_passes_wait_for_a_whole_list(tmp_path):
    """Which uses were taken since the snapshot nobody knows; residents pass."""

    async def body(rig):
        await rig.allow("alice")
        await rig.store.writer.submit(lambda conn: conn.execute("INSERT INTO state VALUES ('restored', '1')"), now=True)
        rig.store.allowlist.revision += 1
        assert await rig.present("alice") == "granted"
        assert await rig.present(visitor(), method=Method.PASS) == "granted", "not counted: nothing to forget"
        assert await rig.present(visitor(uses=1, pass_id=43), method=Method.PASS) == "storage_fault"
        puts = [rig.credential("alice")]
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=2, synced_at=rig.time.wall, full=True)
        assert await rig.present(visitor(uses=1, pass_id=43), method=Method.PASS) == "granted"

    run(body, tmp_path)
