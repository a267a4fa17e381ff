"""Rows A17 and B6: from the credential at the door over a real gate and driver to a lock that counts its movements.

The radio between them loses the link where it hurts, records, changes and plays back what crosses it. What the journal
says about an order is compared with what the lock did.
"""

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import replace

import pytest
from bleak import BleakClient

from lintel.edge.drivers import ble_operation, ble_session
from lintel.edge.model import Notice, Outcome
from lintel.simulators.ble_lintel_lock import RX, TX, lintel_lock
from tests.ble_air import Adapter
from tests.edge.drivers.contract import until
from tests.simulators.lintel_gateway import Gateway

from .ble_stage import Site, honest, site
from .stage import told


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)


# ---- B6

STEPS = [(op, arrives) for op in ("write", "write_answer", "answer") for arrives in (False, True)]


async def storm(place, rounds, seed):
    """Orders, each with the link cut somewhere, at times with the lock gone until after the deadline."""
    chance = random.Random(seed)
    seen = []
    for n in range(rounds):
        op, arrives = STEPS[n % len(STEPS)]
        what, uuid = place.answers if op == "answer" else (op, "")
        place.air.cuts.clear()
        place.air.cut(place.address, what, uuid=uuid, nth=chance.choice((1, 1, 2, 3)), arrives=arrives)
        gone = n % 3 == 2
        if gone:
            place.air.mute(place.address)  # once the link is lost, it is not found again
        seen.append((*await place.come(None, within=0.6 if gone else 8.0), op, arrives, gone))
        place.air.cuts.clear()
        place.air.back(place.address)
        await asyncio.sleep(0.3)
    return seen


@pytest.mark.parametrize(("kind", "rounds"), [("lintel-lock", 15), ("nuki-smart-lock", 9), ("nuki-ultra", 6)])
def test_b6_whatever_is_cut_the_lock_moves_once_at_most_and_the_journal_says_what_it_did(
    tmp_path, monkeypatch, kind, rounds
):
    monkeypatch.setattr(ble_operation, "READ_BACK_S", 0.5)

    async def main():
        async with site(tmp_path, kind=kind, weak="rate") as place:
            seen = await storm(place, rounds, seed=17)
            assert all(honest(outcome, turns) for outcome, turns, *_ in seen), seen
            assert {turns for _, turns, *_ in seen} <= {0, 1}
            assert max(Counter(turn.source for turn in place.lock.motor.turns).values()) == 1
            executed = [s for s in seen if s[0] is Outcome.EXECUTED]
            assert len(executed) >= rounds / 2, seen
            assert len(executed) < len(seen), "some could not be done in time"
            await place.rig.flush()
            others = {ident: o for ident, o in place.outcomes.items() if o is not Outcome.EXECUTED}
            assert place.journaled() == others

    asyncio.run(main())


async def hasty(place, order):
    """An executor that believes silence: it does again what it has heard nothing of."""
    outcome = await place.execute(order)
    if outcome is not Outcome.UNKNOWN_OUTCOME:
        return outcome
    place.air.back(place.address)
    again = replace(order, id=order.id + "-again", deadline=time.monotonic() + 8)
    return await place.execute(again)


async def silence(path, executes):
    """How often the lock moves for one order whose answer is lost, and what the journal says of it."""
    async with site(path, weak="rate", executes=executes) as place:
        await place.come(None, within=8.0)
        await asyncio.sleep(0.3)
        before = place.turns()
        place.air.cut(place.address, "notify", uuid=RX)
        place.air.mute(place.address)
        place.rig.gate.order_s = 0.6
        assert await place.rig.present("p-1", door="door0") == "granted"
        await until(lambda: Outcome.UNKNOWN_OUTCOME in place.outcomes.values(), 30)
        place.air.back(place.address)
        await place.rig.flush()
        moved = place.turns() - before
        assert (await place.come(None, within=8.0))[1] == 1, "the line is well again"
        return moved, set(place.journaled().values())


def test_b6_an_answer_that_never_came_is_no_reason_to_move_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ble_operation, "READ_BACK_S", 0.4)
    assert asyncio.run(silence(tmp_path, Site.execute)) == (1, {"unknown_outcome"})


def test_b6_control_who_takes_silence_for_a_no_moves_it_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(ble_operation, "READ_BACK_S", 0.4)
    assert asyncio.run(silence(tmp_path, hasty)) == (2, set())


# ---- A17


async def thief(place):
    """An adapter of its own in the same place, while the gateway's makes no new connection."""
    place.air.adapter.slots = 0
    place.air.drop(place.address)
    adapter = Adapter(place.air, "F0:00:00:00:00:66", 5)
    await adapter.start()
    return adapter


async def played_back(path, weak):
    """How often the lock moves for one order whose whole radio traffic somebody records and sends again."""
    recorded = []
    async with site(path, weak=weak) as place:
        for link in list(place.lock.links.values()):
            link.hang_up()  # so that the record begins with a handshake
        await until(lambda: not place.lock.links, 10)
        place.air.taps.append(lambda pdu: recorded.append(pdu.value) if (pdu.op, pdu.uuid) == ("write", TX) else None)
        assert await place.come(None, within=8.0) == (Outcome.EXECUTED, 1)
        place.air.taps.clear()
        adapter = await thief(place)
        client = BleakClient(place.address, timeout=10, backend=adapter.client_backend)
        await client.connect()
        await client.start_notify(RX, lambda *_: None)
        for fragment in recorded:
            if client.is_connected:
                await client.write_gatt_char(TX, fragment, response=True)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        await client.disconnect()
        assert len(recorded) >= 4
        return place.turns()


def test_a17_a_recorded_unlock_played_back_opens_nothing(tmp_path):
    assert asyncio.run(played_back(tmp_path, "")) == 1


def test_a17_control_a_lock_with_a_worn_out_key_and_no_memory_is_opened_by_a_record(tmp_path):
    assert asyncio.run(played_back(tmp_path, "ephemeral nonce memory rate")) == 2


def test_a17_a_challenge_is_random_single_lives_5_s_and_only_the_last_counts(tmp_path):
    async def main():
        async with site(tmp_path) as place:
            adapter = await thief(place)
            await place.lock.do_button()
            async with Gateway(adapter, place.address) as gw:
                assert (await gw.pair(place.lock.secret))[0] == 6
            async with Gateway(adapter, place.address, gw.key) as gw:
                await gw.handshake(place.lock.public)
                answers = [await gw.ask(b"\x20") for _ in range(9)]
                assert {int.from_bytes(a[17:], "little") for a in answers} == {5000}
                nonces = [a[1:17] for a in answers]
                assert len(set(nonces)) == 9
                for old in nonces[:-1]:
                    assert (await gw.ask(gw.order(old)))[17] == 3
                assert (await gw.ask(gw.order(nonces[-1])))[17] == 3, "it was given up with the first wrong one"
                assert (await gw.ask(gw.order(os.urandom(16))))[17] == 3
                assert place.turns() == 0
                assert (await gw.command())[0] == 0
                assert place.turns() == 1

    asyncio.run(main())


def test_a17_old_answers_of_the_lock_are_not_believed(tmp_path):
    async def main():
        async with site(tmp_path, weak="rate") as place:
            before, at = [], [0]
            place.air.taps.append(
                lambda pdu: before.append(pdu.value) if (pdu.op, pdu.uuid) == ("notify", RX) else None
            )
            assert await place.come(None, within=8.0) == (Outcome.EXECUTED, 1)
            await asyncio.sleep(0.3)
            place.air.taps.clear()
            await place.lock.do_jam()

            def again(pdu):
                if (pdu.op, pdu.uuid) != ("notify", RX) or at[0] >= len(before):
                    return None
                at[0] += 1
                return [before[at[0] - 1]]

            place.air.edits.append(again)
            outcome, turns = await place.come(None, within=4.0)
            assert outcome is not Outcome.EXECUTED, "it jammed"
            assert turns <= 1
            assert at[0], "old answers did come"
            assert "frame_error" in {e.reason for e in await told(place.rig, "frame_error")}

    asyncio.run(main())


async def replaced(path, *, same_key):
    """(outcome, movements, events) of a lock with its own or another key that took the place of the paired one."""
    async with site(path) as place:
        assert await place.come(None, within=8.0) == (Outcome.EXECUTED, 1)
        seed = place.lock.memory.seed if same_key else os.urandom(32).hex()
        gateways, asked = dict(place.lock.memory.gateways), []
        place.air.drop(place.address)
        await place.lock.power_off()
        other = lintel_lock(lambda event, **_: asked.append(event), address=place.address, interval=20.0, seed=seed)
        other.memory.gateways |= gateways
        await other.appear(place.air)
        known = set(place.outcomes)
        place.rig.gate.order_s = 4.0
        assert await place.rig.present("p-1", door="door0") == "granted"
        await until(lambda: set(place.outcomes) > known, 30)
        outcome = place.outcomes[(set(place.outcomes) - known).pop()]
        notices = [] if same_key else {e.reason for e in await told(place.rig, Notice.IDENTITY_MISMATCH)}
        await other.power_off()
        return outcome, len(other.motor.turns), set(asked) & {"connected", "asked"}, notices


def test_a17_another_lock_at_the_same_address_gets_no_order(tmp_path):
    outcome, *rest = asyncio.run(replaced(tmp_path, same_key=False))
    assert outcome not in (Outcome.EXECUTED, Outcome.UNKNOWN_OUTCOME)
    assert rest == [0, {"connected"}, {"identity_mismatch"}]


def test_a17_control_the_lock_itself_come_back_gets_it(tmp_path):
    assert asyncio.run(replaced(tmp_path, same_key=True)) == (
        Outcome.EXECUTED, 1, {"connected", "asked"}, [],
    )  # fmt: skip


def test_a17_a_lock_that_is_near_and_a_credential_that_is_not_known_open_nothing(tmp_path):
    async def main():
        async with site(tmp_path) as place:
            place.air.rssi[place.address] = -20
            assert await place.rig.present("somebody", door="door0") == "unknown_credential"
            await asyncio.sleep(0.5)
            assert (place.turns(), place.outcomes) == (0, {})
            async with Gateway(await thief(place), place.address) as gw:
                assert await gw.hello() == b"\x07\x01"
                await gw.send(gw.order(bytes(16)))  # in the clear: no handshake, no order
                await asyncio.sleep(0.1)
            assert place.turns() == 0

    asyncio.run(main())
