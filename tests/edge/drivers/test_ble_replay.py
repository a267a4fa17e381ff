"""Abuse case A17: who records what an unlock says on the air, or has one challenge, opens nothing with it.

The attacker speaks through bleak like the gateway; the far end is a simulated lock, with and without its guards.
"""

import asyncio
import secrets

import pytest
from bleak import BleakClient

from lintel.edge.ble import lintel_lock as core
from lintel.edge.ble import lintel_messages as m
from lintel.edge.ble.fragments import Assembler, cut
from lintel.edge.ble.words import Move
from lintel.edge.model import Outcome
from tests.edge.drivers.ble_rig import Inlet, lintel_locks, order, ready, running


class Client:
    """A paired client that does as it likes. `recorded`: every fragment it ever wrote."""

    def __init__(self, rig):
        self.rig, self.recorded = rig, []

    async def __aenter__(self):
        self.heard, self.over, assembler = asyncio.Queue(), asyncio.Event(), Assembler()
        self.bleak = BleakClient(
            self.rig.address, lambda _: self.over.set(), backend=self.rig.air.client_backend, timeout=5
        )
        await self.bleak.connect()

        def hear(_, data):
            message = assembler.feed(bytes(data))
            if message is not None:
                self.heard.put_nowait(message)

        await self.bleak.start_notify(core.RX, hear)
        opening = core.Handshake(
            self.rig.keys.get("lock", "own_seed"), self.rig.keys.get("lock", "lock_key"), secrets.token_bytes(32)
        )
        await self.write(opening.hello)
        await self.write(opening.answer(await self.next()))
        self.channel = opening.channel()
        assert isinstance(m.read(self.channel.open(await self.next())), m.Ready)
        return self

    async def __aexit__(self, *_):
        await self.bleak.disconnect()

    async def next(self):
        return await asyncio.wait_for(self.heard.get(), 3)

    async def write(self, message):
        for fragment in cut(message, 200):
            self.recorded.append(fragment)
            await self.bleak.write_gatt_char(core.TX, fragment, response=True)

    async def ask(self, inner):
        await self.write(self.channel.seal(inner))
        return m.read(self.channel.open(await self.next()))

    async def challenge(self):
        return (await self.ask(m.GET_CHALLENGE)).nonce

    async def unlock(self, nonce):
        """The code of the answer; the result of one that was accepted is waited for."""
        answer = await self.ask(m.command(secrets.token_bytes(16), Move.UNLOCK, nonce))
        if isinstance(answer, m.Accepted) and answer.status == m.OK:
            assert isinstance(m.read(self.channel.open(await self.next())), m.Result)
        return answer.status


def attack(scene, **options):
    async def stage():
        async with lintel_locks(**options) as rig:
            await scene(rig)
            return len(rig.turns())

    return asyncio.run(stage())


async def two_unlocks_for_one_challenge(rig):
    async with Client(rig) as client:
        nonce = await client.challenge()
        assert await client.unlock(nonce) == m.OK
        await asyncio.sleep(0.3)
        await client.unlock(nonce)


async def a_challenge_of_another_connection(rig):
    async with Client(rig) as client:
        nonce = await client.challenge()
    async with Client(rig) as client:
        await client.unlock(nonce)


async def an_answer_too_late(rig):
    async with Client(rig) as client:
        nonce = await client.challenge()
        await asyncio.sleep(0.4)
        await client.unlock(nonce)


async def a_frame_played_again_on_its_connection(rig):
    async with Client(rig) as client:
        assert await client.unlock(await client.challenge()) == m.OK
        await asyncio.sleep(0.3)
        await client.bleak.write_gatt_char(core.TX, client.recorded[-1], response=True)
        await asyncio.sleep(0.1)


async def a_whole_session_played_again(rig):
    async with Client(rig) as client:
        assert await client.unlock(await client.challenge()) == m.OK
    async with BleakClient(rig.address, backend=rig.air.client_backend, timeout=5) as thief:
        for fragment in client.recorded:
            await thief.write_gatt_char(core.TX, fragment, response=True)
        await asyncio.sleep(0.2)


ATTACKS = {
    two_unlocks_for_one_challenge: (1, "nonce rate"),
    a_challenge_of_another_connection: (0, "nonce"),
    an_answer_too_late: (0, "lifetime"),
    a_frame_played_again_on_its_connection: (1, "counter nonce memory rate"),
    a_whole_session_played_again: (1, ""),
}


@pytest.mark.parametrize("scene", ATTACKS, ids=lambda a: a.__name__)
def test_a17_what_was_recorded_or_is_stale_opens_nothing(scene):
    assert attack(scene, lifetime=200) == ATTACKS[scene][0]


@pytest.mark.parametrize("scene", [a for a, (_, weak) in ATTACKS.items() if weak], ids=lambda a: a.__name__)
def test_a17_control_without_its_guard_the_lock_opens_once_more(scene):
    turns, weak = ATTACKS[scene]
    assert attack(scene, lifetime=200, weak=weak.replace(" ", ",")) == turns + 1


def test_a17_being_near_opens_nothing_and_a_stale_challenge_is_not_used():
    async def stage():
        async with lintel_locks(lifetime=900) as rig:
            refused = []
            rig.lock.emit = lambda event, **_: refused.append(event) if event == "refused" else None
            driver, inlet = rig.build(), Inlet()
            async with running(driver, inlet):
                await ready(driver)
                await asyncio.sleep(1.2)  # its first challenge is dead
                assert rig.turns() == []
                assert await driver.execute(order()) is Outcome.EXECUTED
            assert refused == []
            assert inlet.readings == []

    asyncio.run(stage())


def test_a17_one_challenge_is_kept_at_a_time():
    async def stage():
        async with lintel_locks() as rig:
            driver, inlet = rig.build(), Inlet()
            async with running(driver, inlet):
                await ready(driver)
                talk = driver._locks["lock"]._session.talk
                first = talk._nonce
                await talk.prepare()
                assert talk._nonce != first
                assert await driver.execute(order()) is Outcome.EXECUTED
                await ready(driver)
                assert talk._nonce != first

    asyncio.run(stage())
