"""Visitor passes at the gate, on a real encrypted store: each use once, durably, without a network."""

import asyncio
import threading

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Door, Method, Stream
from lintel.edge.passes import PassKey, rotating
from lintel.edge.store import PassPut

from .drivers.contract import until
from .rig import PUBLIC, SITE, T0, run, visitor


def test_a4_one_pass_at_eight_doors_fifty_at_once_is_one_grant(tmp_path):
    doors = {f"d{n}": Door(f"d{n}", "", frozenset({"public"}), f"l{n}") for n in range(8)}

    async def body(rig):
        token = visitor(uses=1)
        readings = [rig.reading(token, door=f"d{n % 8}", method=Method.PASS) for n in range(50)]
        receipts = await asyncio.gather(*(rig.gate.present(r) for r in readings))
        await asyncio.wait_for(asyncio.gather(*receipts), 10)
        reasons = sorted(e.reason for e in rig.decisions())
        assert reasons == ["already_used"] * 49 + ["granted"]
        assert len(rig.lock.orders) == 1
        assert rig.store.allowlist.visitor_pass(42).uses == 1

    run(body, tmp_path, doors=doors)


def test_a4_control_read_then_write_opens_twice(tmp_path):
    doors = {f"d{n}": Door(f"d{n}", "", frozenset({"public"}), f"l{n}") for n in range(8)}

    async def body(rig):
        async def careless(use, granted, refused, deadline=None):
            row = rig.store.allowlist.visitor_pass(use.pass_id)
            await asyncio.sleep(0)
            won = (row.uses if row else 0) < use.limit
            await rig.store.journal.append(granted if won else refused, now=True)
            return won

        rig.store.allowlist.consume = lambda *args, **options: asyncio.ensure_future(careless(*args, **options))
        token = visitor(uses=1)
        readings = [rig.reading(token, door=f"d{n}", method=Method.PASS) for n in range(8)]
        await asyncio.gather(*[await rig.gate.present(r) for r in readings])
        assert len(rig.lock.orders) > 1

    run(body, tmp_path, doors=doors)


def test_a_use_is_committed_before_the_order_and_survives_a_restart(tmp_path):
    async def body(rig):
        async def look(order):
            assert rig.store.allowlist.visitor_pass(42).uses == 1, "the use is durable before the door moves"

        rig.lock.before = look
        assert await rig.present(visitor(uses=1), method=Method.PASS) == "granted"

    async def later(rig):
        assert await rig.present(visitor(uses=1), method=Method.PASS) == "already_used"
        assert rig.lock.orders == []

    run(body, tmp_path)
    run(later, tmp_path)


def test_a_refused_visitor_burns_no_use(tmp_path):
    async def body(rig):
        await rig.store.allowlist.set_lockdown({"public"}, True)
        assert await rig.present(visitor(uses=1), method=Method.PASS) == "lockdown"
        await rig.store.allowlist.set_lockdown({"public"}, False)
        assert await rig.present(visitor(uses=1), method=Method.PASS) == "granted"

    run(body, tmp_path)


def test_a_use_that_can_not_be_recorded_opens_nothing(tmp_path):
    async def body(rig):
        def broken(use, granted, refused, deadline=None):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(StoreError("storage_read_only", "the disk is read-only"))
            return future

        rig.store.allowlist.consume = broken
        assert await rig.present(visitor(uses=1), method=Method.PASS) == "storage_read_only"
        assert await rig.present(visitor(pass_id=43), method=Method.PASS) == "granted", "not counted: it may pass"
        assert len(rig.lock.orders) == 1

    run(body, tmp_path)


def test_a_disk_that_does_not_answer_holds_up_one_visitor_and_nobody_behind(tmp_path):
    """The commit of a use hangs: that visitor stays out, whatever becomes of the use; the next person passes."""

    async def body(rig):
        answer = threading.Event()
        rig.gate.order_s = 0.3
        await rig.allow("alice")
        hung = rig.store.writer.submit(lambda _: answer.wait(30), now=True)
        visitor_in = await rig.gate.present(rig.reading(visitor(uses=1), method=Method.PASS))
        resident_in = await rig.gate.present(rig.reading("alice"))
        await until(lambda: rig.lock.orders, 10.0)
        assert not visitor_in.done()
        assert not resident_in.done(), "acknowledged only after the commit"
        answer.set()
        await asyncio.gather(hung, visitor_in, resident_in)
        await rig.flush()
        assert len(rig.lock.orders) == 1, "a use that is stored late opens nothing"
        return rig.decisions(), [e for e in rig.events() if e.type == "door.order"]

    decisions, orders = run(body, tmp_path)
    assert sorted(e.reason for e in decisions) == ["granted", "storage_read_only"]
    assert orders == []


def test_a_use_that_was_on_its_way_when_the_door_gave_up_is_told_as_expired(tmp_path):
    async def body(rig):
        rig.gate.order_s = 0.2
        real, release = rig.store.allowlist.consume, asyncio.Event()

        async def slow(*args, **options):
            await release.wait()
            return await real(*args, **{**options, "deadline": None})

        rig.store.allowlist.consume = lambda *args, **options: asyncio.ensure_future(slow(*args, **options))
        receipt = await rig.gate.present(rig.reading(visitor(uses=1), method=Method.PASS))
        await rig.gate.drain(10)
        release.set()
        await asyncio.wait_for(receipt, 10)
        await rig.flush()
        assert rig.lock.orders == []
        assert rig.store.allowlist.visitor_pass(42).uses == 1
        return [(e.type, e.reason or e.result) for e in rig.events()]

    assert run(body, tmp_path) == [("access.decision", "granted"), ("door.order", "order_expired")]


def test_a_use_that_fails_late_for_whatever_reason_completes_its_receipt(tmp_path):
    """A receipt that stays open would hold up the acknowledgements of all that came behind it."""

    async def body(rig):
        rig.gate.order_s = 0.2
        release = asyncio.Event()

        async def broken(*args, **options):
            await release.wait()
            raise ValueError("a bug")

        rig.store.allowlist.consume = lambda *args, **options: asyncio.ensure_future(broken(*args, **options))
        receipt = await rig.gate.present(rig.reading(visitor(uses=1), method=Method.PASS))
        await rig.gate.drain(10)
        release.set()
        await asyncio.wait_for(receipt, 10)
        assert rig.lock.orders == []
        return [e.reason for e in rig.decisions()]

    assert run(body, tmp_path) == ["internal_error"]


def test_a14_the_silent_alarm_of_a_counted_credential_is_in_the_commit_of_its_use(tmp_path):
    async def body(rig):
        people = [f"m{n}" for n in range(40)]
        await rig.allow(*people, duress=True, use_limit=1)
        for n, person in enumerate(people, 1):
            await asyncio.wait_for(await rig.gate.present(rig.reading(person)), 10)
            assert len(rig.events(Stream.ALARM)) == n, "durable when the use is"

    run(body, tmp_path)


def test_a6_a_rotating_code_opens_once_and_a_screenshot_is_replayed_also_after_a_restart(tmp_path):
    secret, code = bytes(range(32, 64)), []

    async def body(rig):
        await rig.store.allowlist.apply_checkpoint(
            [PassPut(9, ("public",), secret=secret)], epoch=1, seq=1, synced_at=T0
        )
        code.append(rotating(secret, 9, T0))
        assert await rig.present(code[0], method=Method.PASS) == "granted"
        assert await rig.present(code[0], method=Method.PASS, door="back") == "replayed"

    async def later(rig):
        assert await rig.present(code[0], method=Method.PASS) == "replayed"
        rig.time.move(61)
        assert await rig.present(code[0], method=Method.PASS) == "replayed"
        assert await rig.present(rotating(secret, 9, rig.time.wall), method=Method.PASS) == "granted"
        assert await rig.present(rotating(secret, 9, rig.time.wall - 300), method=Method.PASS) == "replayed"
        assert await rig.present(rotating(bytes(32), 9, rig.time.wall), method=Method.PASS) == "bad_signature"
        assert await rig.present(rotating(secret, 10, rig.time.wall), method=Method.PASS) == "unknown_credential"

    run(body, tmp_path)
    run(later, tmp_path)


PASSES = [
    ({}, "granted"),
    ({"seed": bytes(32)}, "bad_signature"),
    ({"key_id": 8}, "untrusted_key"),
    ({"site": 4711}, "wrong_scope"),
    ({"site": 4712}, "bad_signature"),
    ({"mask": 2}, "wrong_scope"),
    ({"mask": 0x8000}, "wrong_scope"),
    ({"mask": 0}, "wrong_scope"),
    ({"start": 60}, "not_yet_valid"),
    ({"start": -3600, "minutes": 60}, "expired"),
    ({"start": -3599, "minutes": 60}, "expired"),
    ({"start": -3540, "minutes": 60}, "granted"),
    ({"flags": 2}, "method_disabled"),
]


@pytest.mark.parametrize(("fields", "reason"), PASSES)
def test_a_visitor_pass_is_checked_without_a_network(tmp_path, fields, reason):
    async def body(rig):
        assert await rig.present(visitor(**fields), method=Method.PASS) == reason
        assert len(rig.lock.orders) == (reason == "granted")

    run(body, tmp_path, other_sites=(4711,))


@pytest.mark.parametrize(("retired_at", "reason"), [(T0 - 3600, "untrusted_key"), (T0, "granted")])
def test_a_retired_key_is_good_for_older_passes_only(tmp_path, retired_at, reason):
    async def body(rig):
        assert await rig.present(visitor(), method=Method.PASS) == reason

    run(body, tmp_path, keys={7: PassKey(7, PUBLIC, SITE, retired_at)})


def test_a_text_that_is_no_pass_is_bad_format(tmp_path):
    async def body(rig):
        good = visitor()
        for text in ("L1:", "L2:", "L1:" + good[4:], good[:-1], good.replace("L1", "L2")):
            assert await rig.present(text, method=Method.PASS) in ("bad_format", "bad_signature")
        assert rig.lock.orders == []

    run(body, tmp_path)
