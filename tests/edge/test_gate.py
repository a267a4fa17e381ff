"""The gate on a real encrypted store: who is let in, durably, and what the journal says."""

import asyncio
from dataclasses import replace

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Direction, Door, Method, Notice, PersonKind, Reason, Status, Stream
from lintel.edge.store import Del, ItemPut, Type

from .rig import T0, run, visitor


def test_a_known_person_is_let_in_and_it_is_journaled(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        assert await rig.present("alice") == "granted"
        (order,) = rig.lock.orders
        (event,) = rig.decisions()
        assert (order.door, order.device, order.deadline > rig.time.mono) == ("gate", "gate-lock", True)
        assert (event.person, event.result, event.device) == ("alice", "open", "gate-reader")

    run(body, tmp_path)


def test_an_empty_store_lets_nobody_in(tmp_path):
    async def body(rig):
        assert await rig.present("alice") == "unknown_credential"
        assert await rig.present("alice", method=Method.FACE, score=1.0) == "unknown_credential"
        assert rig.lock.orders == []

    run(body, tmp_path)


def test_the_receipt_waits_for_the_commit_and_the_order_does_not(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        held = asyncio.get_running_loop().create_future()
        real = rig.store.journal.append
        rig.store.journal.append = lambda event, now=False: held
        receipt = await rig.gate.present(rig.reading("alice"))
        await asyncio.sleep(0.05)
        assert len(rig.lock.orders) == 1
        assert not receipt.done()
        held.set_result(1)
        await asyncio.wait_for(receipt, 1)
        rig.store.journal.append = real

    run(body, tmp_path)


def test_a_reading_that_could_not_be_stored_is_not_acknowledged(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(StoreError("commit_failed", "no"))
        rig.store.journal.append = lambda event, now=False: failed
        receipt = await rig.gate.present(rig.reading("alice"))
        with pytest.raises(StoreError):
            await asyncio.wait_for(receipt, 1)

    run(body, tmp_path)


def test_a_record_sent_twice_is_one_entry_before_and_after_the_commit_and_a_restart(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        readings = [rig.reading("alice", record="17") for _ in range(3)]
        receipts = [await rig.gate.present(r) for r in readings]
        await asyncio.wait_for(asyncio.gather(*receipts), 5)
        assert await rig.gate.present(rig.reading("alice", record="18"))
        await rig.gate.drain(1)
        again = await rig.gate.present(rig.reading("alice", record="17"))
        await asyncio.wait_for(again, 5)
        assert len(rig.lock.orders) == 2

    async def later(rig):
        receipt = await rig.gate.present(rig.reading("alice", record="17"))
        await asyncio.wait_for(receipt, 5)
        assert rig.lock.orders == []
        assert [e.record for e in rig.decisions()] == ["17", "18"]

    run(body, tmp_path)
    run(later, tmp_path)


def test_an_exception_in_one_rule_denies_raises_an_alarm_and_the_door_goes_on(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        real = rig.gate.witness
        rig.gate.witness = None  # planted: the next presentation breaks
        assert await rig.present("alice") == "internal_error"
        rig.gate.witness = real
        assert await rig.present("alice") == "granted"
        assert len(rig.lock.orders) == 1
        assert [e.reason for e in rig.events(Stream.ALARM)] == [Notice.DEVICE_FAULT]

    run(body, tmp_path)


def test_a10_a_revocation_holds_at_every_door_at_once_and_after_a_restart(tmp_path):
    doors = {f"d{n}": Door(f"d{n}", "", frozenset({"public"}), f"l{n}") for n in range(200)}

    async def body(rig):
        await rig.allow("alice", rev=7)
        assert await rig.present("alice", door="d0") == "granted"
        await rig.allow("alice", seq=2, rev=8, status=Status.REVOKED)
        answers = await asyncio.gather(*(rig.present("alice", door=d) for d in doors))
        assert set(answers) == {"revoked"}
        await rig.allow("alice", seq=3, rev=7)
        assert await rig.present("alice", door="d1") == "revoked", "an older grant does not lift a revocation"

    async def later(rig):
        assert await rig.present("alice", door="d9") == "revoked"

    run(body, tmp_path, doors=doors)
    run(later, tmp_path, doors=doors)


@pytest.mark.parametrize("subject", ["alice", "vp_42"])
@pytest.mark.parametrize(("until", "holds"), [(None, True), (T0 + 60, True), (T0, False)])
def test_a12_a_block_wins_over_every_allow(tmp_path, subject, until, holds):
    async def body(rig):
        block = ItemPut(Type.BLOCK, subject, {"until": until})
        puts = [rig.credential("alice"), block]
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=T0)
        hit = ("alice", Method.QR) if subject == "alice" else (visitor(), Method.PASS)
        assert await rig.present(hit[0], method=hit[1]) == ("blocked" if holds else "granted")
        await rig.store.allowlist.apply_checkpoint([Del(Type.BLOCK, subject)], epoch=1, seq=2, synced_at=T0)
        assert await rig.present(hit[0], method=hit[1]) == "granted"

    run(body, tmp_path)


def test_a14_a_duress_credential_is_decided_alike_and_raises_a_silent_alarm(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        await rig.allow("mallory", seq=2, duress=True)
        assert await rig.present("alice") == await rig.present("mallory") == "granted"
        await rig.store.writer.submit(lambda conn: None, now=True)
        assert [e.reason for e in rig.events(Stream.ALARM)] == [Notice.DURESS]
        a, b = (replace(o, id="", deadline=0) for o in rig.lock.orders)
        assert a == b

    run(body, tmp_path)


def test_a14_the_silent_alarm_is_stored_with_its_decision_also_when_the_lock_never_answers(tmp_path):
    """Whoever is acknowledged has raised it: a stop while the door moves does not lose the one and keep the other."""

    async def body(rig):
        await rig.allow("mallory", duress=True)
        rig.lock.delay = 60.0
        await asyncio.wait_for(await rig.gate.present(rig.reading("mallory")), 10)
        assert len(rig.lock.orders) == 1
        assert [e.reason for e in rig.events(Stream.ALARM)] == [Notice.DURESS]

    run(body, tmp_path, wait=0.0)


def test_a12_neither_a_block_nor_a_lockdown_closes_an_exit(tmp_path):
    async def body(rig):
        puts = [rig.credential("alice"), ItemPut(Type.BLOCK, "alice", {"until": None})]
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=T0)
        await rig.store.allowlist.set_lockdown({"public"}, True)
        assert await rig.present("alice", direction=Direction.OUT) == "granted"
        assert await rig.present("alice") == "blocked"
        await rig.store.allowlist.apply_checkpoint([Del(Type.BLOCK, "alice")], epoch=1, seq=2, synced_at=T0)
        assert await rig.present("alice", direction=Direction.OUT) == "granted"
        assert await rig.present("alice") == "lockdown"
        assert len(rig.lock.orders) == 2

    run(body, tmp_path)


def test_b15_both_times_are_kept_and_the_gateways_orders(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        for device_time in (None, 0.0, T0 - 3600.25, 4_070_908_800.0):
            assert await rig.present("alice", device_time=device_time) == "granted"
        found = rig.decisions()
        assert [e.device_ts for e in found] == [0, 0, int((T0 - 3600.25) * 1000), 4_070_908_800_000]
        assert {e.ts for e in found} == {T0 * 1000}

    run(body, tmp_path)


def test_b14_what_a_device_sends_again_is_counted_and_told_once_per_device(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        for _ in range(4):
            await rig.gate.present(rig.reading("alice", record="1-record"))
            await rig.flush()
        await rig.gate.present(rig.reading("alice", record="2-record"))
        await rig.flush()
        assert [e.reason for e in rig.events(Stream.TELEMETRY)] == []
        for _ in range(2):
            rig.gate.ledger.tell_repeats()
        await rig.flush()
        (told,) = rig.events(Stream.TELEMETRY)
        assert (told.reason, told.device, told.count) == (Notice.DUPLICATE, "gate-reader", 3)
        assert len(rig.lock.orders) == len(rig.decisions()) == 2

    run(body, tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"groups": ("tower-b",)}, "no_grant"),
        ({"status": Status.SUSPENDED}, "suspended"),
        ({"valid_to": T0}, "expired"),
        ({"valid_from": T0 + 1}, "not_yet_valid"),
        ({"schedule": "nowhere"}, "outside_schedule"),
        ({"use_limit": 0}, "already_used"),
    ],
)
def test_n1_a_known_person_without_a_right_here(tmp_path, fields, reason):
    async def body(rig):
        await rig.allow("alice", **fields)
        assert await rig.present("alice") == reason
        assert rig.lock.orders == []

    run(body, tmp_path)


def test_a13_guessing_at_one_reader_leaves_the_others_and_signed_passes_alone(tmp_path):
    async def body(rig):
        puts = [rig.credential("0042", method=Method.CARD), rig.credential("alice")]
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=T0)
        reasons = [await rig.present(f"guess{n}", method=Method.CARD) for n in range(7)]
        assert reasons == ["unknown_credential"] * 5 + ["rate_limited"] * 2
        assert await rig.present("0042", method=Method.CARD) == "rate_limited"
        assert await rig.present("alice") == "granted", "an opaque code can not be guessed: nobody is locked out"
        for n in range(6):
            await rig.present(f"guess{n}", method=Method.CARD)
        assert await rig.present("0042", method=Method.CARD, door="back") == "granted"
        assert await rig.present(visitor(), method=Method.PASS) == "granted"
        rig.time.move(2.01)
        assert await rig.present("0042", method=Method.CARD) == "granted"
        assert {e.reason for e in rig.events(Stream.ALARM)} == {Notice.GUESSING}

    run(body, tmp_path)


def test_a_presentation_that_waited_too_long_is_stale(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        for age, reason in ((9.9, "granted"), (10.1, "stale_reading"), (float("inf"), "stale_reading")):
            assert await rig.present("alice", age=age) == reason

    run(body, tmp_path)


def test_an_untrusted_clock_keeps_residents_and_refuses_visitors(tmp_path):
    async def body(rig):
        await rig.allow("alice", "bob")
        await rig.allow("carol", seq=2, schedule="always")
        await rig.allow("guest", seq=3, kind=PersonKind.VISITOR, valid_to=T0 + 10**9)
        reasons = [await rig.present(p) for p in ("alice", "carol", "guest")]
        assert reasons == ["granted", "clock_untrusted", "clock_untrusted"]
        assert await rig.present(visitor(), method=Method.PASS) == "clock_untrusted"

    run(body, tmp_path, synced=lambda: False)


def test_what_the_journal_keeps_holds_no_raw_credential(tmp_path):
    async def body(rig):
        await rig.allow("CANARY-1234")
        await rig.present("CANARY-1234", method=Method.CARD)
        assert await rig.present(visitor(), method=Method.PASS) == "granted"
        assert Reason.GRANTED in {e.reason for e in rig.decisions()}

    run(body, tmp_path)
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"CANARY" not in kept


def test_the_time_of_an_unknown_clock_is_no_floor_for_the_next_start(tmp_path):
    async def body(rig):
        rig.time.wall = T0 + 75 * 365 * 86400
        await rig.present("anybody")
        return rig.store.journal.newest_ts()

    async def trusted(rig):
        await rig.present("anybody")
        return rig.store.journal.newest_ts()

    assert run(body, tmp_path, synced=lambda: False) == 0
    assert run(trusted, tmp_path) == T0 * 1000
