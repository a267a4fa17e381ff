"""What fire releases stays released until an operator resets it, whatever the lock, the disk or the input does."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

from lintel.edge import fire
from lintel.edge.fire import Fire
from lintel.edge.model import (
    EVERY_DOOR,
    Action,
    Contact,
    ContactKind,
    Door,
    Method,
    Notice,
    Outcome,
    Reason,
    Stream,
)
from tests.edge.drivers.contract import until
from tests.edge.rig import Rig, visitor

EXECUTED, REFUSED, NOT_SENT = Outcome.EXECUTED, Outcome.REFUSED_BY_DEVICE, Outcome.NOT_SENT


def on(active=True, door=EVERY_DOOR, device="panel", number=0):
    return Contact(device, ContactKind.FIRE, active, door, number)


class Lock:
    """The locks of all doors. `knows`: what they can; `away`: whose line is down; `open`: door -> how it stands.

    `slow`: actions that wait for `let_go`; `deaf`: they are carried out then although nobody waits for them any more.
    """

    def __init__(self, knows=(Action.OPEN, Action.HOLD, Action.RELEASE)):
        self.knows, self.away, self.orders, self.open, self.error = set(knows), set(), [], {}, None
        self.slow, self.deaf, self.let_go, self.moving = set(), False, asyncio.Event(), set()

    async def __call__(self, order):
        self.orders.append(order)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if order.action in self.slow:
            moved = asyncio.ensure_future(self.move(order))
            self.moving.add(moved)
            return await (asyncio.shield(moved) if self.deaf else moved)
        return self.carry_out(order)

    async def move(self, order):
        await self.let_go.wait()
        return self.carry_out(order)

    def carry_out(self, order):
        if order.device in self.away:
            return NOT_SENT
        if order.action not in self.knows:
            return REFUSED
        self.open[order.door] = order.action if order.action is not Action.RELEASE else None
        return EXECUTED

    def count(self, door, action):
        return sum((o.door, o.action) == (door, action) for o in self.orders)

    def held(self, *doors):
        return all(self.open.get(d) is Action.HOLD for d in doors)


@asynccontextmanager
async def site(path, lock=None, **options):
    async with Rig(path, **options) as rig:
        rig.locks = lock or Lock()
        rig.gate.fire.execute = rig.gate.exits.execute = rig.gate.execute = rig.locks
        yield rig


def scene(body, path, *args, **options):
    async def main():
        async with site(path, *args, **options) as rig:
            await body(rig)

    asyncio.run(asyncio.wait_for(main(), 60))


# ---- the latch


def test_all_doors_are_held_and_stay_so_when_the_input_ends(tmp_path):
    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        rig.gate.contact(on(False))
        rig.gate.contact(on(None))
        await asyncio.sleep(0.3)
        assert rig.locks.held("gate", "back")
        assert rig.locks.count("gate", Action.RELEASE) == 0

    scene(body, tmp_path)


def test_an_input_of_one_door_releases_that_door(tmp_path):
    async def body(rig):
        rig.gate.contact(on(door="back"))
        await until(lambda: rig.locks.held("back"))
        assert not rig.gate.fire.released("gate")
        assert {o.door for o in rig.locks.orders} == {"back"}
        assert rig.gate.fire.frees("back-lock")
        assert not rig.gate.fire.frees("gate-lock")

    scene(body, tmp_path)


def test_s14_a_link_that_flaps_releases_nothing(tmp_path):
    """An input that is at rest, gone, and back at rest, 10,000 times; the issue counts doors: none."""

    async def body(rig):
        for _ in range(10_000):
            rig.gate.contact(on(None))
            rig.gate.fire.line_up()
            rig.gate.contact(on(False))
        await rig.flush()
        assert rig.locks.orders == []
        assert rig.events(Stream.ALARM) == [], "nor is a flap a line of the journal"

    scene(body, tmp_path)


def test_control_s14_a_build_that_takes_silence_for_fire_is_found(tmp_path, monkeypatch):
    real = Fire.input
    monkeypatch.setattr(Fire, "input", lambda self, c: real(self, on(c.active is not False)))

    async def body(rig):
        rig.gate.contact(on(None))
        await until(lambda: rig.locks.orders)

    scene(body, tmp_path)


def test_a_lock_without_hold_is_opened_again_before_each_pulse_ends(tmp_path):
    doors = {d: Door(d, d, frozenset({"public"}), f"{d}-lock", open_s=0.4) for d in ("gate", "back")}

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 4, 10)
        opened = [o.deadline for o in rig.locks.orders if (o.door, o.action) == ("gate", Action.OPEN)]
        assert {o.seconds for o in rig.locks.orders} == {0.4}
        await rig.flush()
        told = Counter((e.door, e.result) for e in rig.events() if e.type == "door.order")
        assert told == {("gate", EXECUTED): 1, ("back", EXECUTED): 1}, "one line for a door, not one for each pulse"
        assert opened
        rig.gate.contact(on(False))
        assert rig.gate.fire.reset().doors == ("gate", "back")
        await asyncio.sleep(0.3)
        count = rig.locks.count("gate", Action.OPEN)
        await asyncio.sleep(0.5)
        assert rig.locks.count("gate", Action.OPEN) == count

    scene(body, tmp_path, Lock((Action.OPEN,)), doors=doors)


def test_a_lock_that_comes_back_is_held_and_the_others_did_not_wait(tmp_path):
    async def body(rig):
        rig.locks.away.add("gate-lock")
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("back"))
        await until(lambda: rig.locks.count("gate", Action.HOLD) >= 2)
        rig.locks.away.clear()
        rig.gate.fire.line_up()
        await until(lambda: rig.locks.held("gate"))
        await rig.flush()
        told = [e.result for e in rig.events() if (e.type, e.door) == ("door.order", "gate")]
        assert told == [NOT_SENT, EXECUTED]

    scene(body, tmp_path)


def test_a_hold_is_renewed_and_a_line_that_comes_up_is_reason_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(fire, "RENEW_S", 0.2)

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.count("gate", Action.HOLD) >= 3)
        monkeypatch.setattr(fire, "RENEW_S", 60.0)
        await asyncio.sleep(0.3)
        count = rig.locks.count("gate", Action.HOLD)
        rig.gate.fire.line_up()
        await until(lambda: rig.locks.count("gate", Action.HOLD) == count + 1)

    scene(body, tmp_path)


def test_a_driver_that_breaks_is_tried_again(tmp_path):
    async def body(rig):
        rig.locks.error = RuntimeError("a bug")
        rig.gate.contact(on())
        await until(lambda: len(rig.locks.orders) >= 2)
        rig.locks.error = None
        await until(lambda: rig.locks.held("gate", "back"))

    scene(body, tmp_path)


# ---- reset


def test_a_reset_needs_a_quiet_input(tmp_path):
    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        done = rig.gate.fire.reset(unseen=True)
        assert (done.doors, done.active) == ((), {"gate": "panel", "back": "panel"})
        rig.gate.contact(on(None))
        done = rig.gate.fire.reset()
        assert (done.doors, done.unknown) == ((), {"gate": "panel", "back": "panel"})
        assert rig.gate.fire.released("gate")
        assert rig.gate.fire.reset(unseen=True).doors == ("gate", "back")
        await until(lambda: set(rig.locks.open.values()) == {None})
        rig.gate.contact(on())  # the panel had not been quiet
        await until(lambda: rig.locks.held("gate", "back"))

    scene(body, tmp_path)


def test_two_inputs_of_one_door(tmp_path):
    async def body(rig):
        rig.gate.contact(on(device="north"))
        rig.gate.contact(on(device="south", door="back"))
        rig.gate.contact(on(False, device="north"))
        done = rig.gate.fire.reset()
        assert (done.doors, done.active) == (("gate",), {"back": "south"})

    scene(body, tmp_path)


def test_a_release_goes_on_until_the_lock_has_it(tmp_path):
    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        rig.locks.away.add("gate-lock")
        rig.gate.contact(on(False))
        rig.gate.fire.reset()
        await until(lambda: rig.locks.count("gate", Action.RELEASE) >= 2)
        rig.locks.away.clear()
        await until(lambda: rig.locks.open["gate"] is None)
        count = len(rig.locks.orders)
        await asyncio.sleep(0.4)
        assert len(rig.locks.orders) == count, "and then it is over"

    scene(body, tmp_path)


def test_what_is_written_down(tmp_path):
    async def body(rig):
        rig.gate.contact(on(False))
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        assert Notice.FIRE in rig.health.standing
        rig.gate.contact(on(False))
        rig.gate.fire.reset()
        assert Notice.FIRE not in rig.health.standing
        await until(lambda: set(rig.locks.open.values()) == {None})
        await rig.flush()
        alarms = [(e.type, e.reason, e.result) for e in rig.events(Stream.ALARM)]
        assert alarms == [("notice", "fire", ""), ("input.fire", "", "active"), ("input.fire", "", "inactive")]
        assert [(e.type, e.result, e.detail) for e in rig.events(Stream.AUDIT)] == [("fire.reset", "done", "gate back")]
        orders = [e for e in rig.events() if e.type == "door.order"]
        assert {(e.door, e.detail, e.result, e.reason) for e in orders} == {
            (d, a, EXECUTED, "fire_release") for d in ("gate", "back") for a in ("hold", "release")
        }

    scene(body, tmp_path)


def test_a_reset_does_not_go_past_an_input_that_was_never_heard(tmp_path):
    """The line of the second panel has not come up since the start: who knows what it would say."""

    async def body(rig):
        rig.gate.fire.expect([on(None), on(None, device="second")])
        rig.gate.contact(on())
        rig.gate.contact(on(False))
        assert rig.gate.fire.reset().unknown == {"gate": "second", "back": "second"}
        rig.gate.contact(on(False, device="second"))
        assert rig.gate.fire.reset().doors == ("gate", "back")

    scene(body, tmp_path)


def test_an_operator_who_looked_resets_past_an_input_that_was_never_heard(tmp_path):
    async def body(rig):
        rig.gate.contact(on())
        rig.gate.fire.expect([on(None), on(None, device="second", door="back")])
        rig.gate.contact(on(False))
        done = rig.gate.fire.reset()
        assert (done.doors, done.unknown) == (("gate",), {"back": "second"}), "what was heard before counts"
        assert rig.gate.fire.reset(unseen=True).doors == ("back",)

    scene(body, tmp_path)


def test_one_input_of_a_device_does_not_speak_for_the_other(tmp_path):
    async def body(rig):
        rig.gate.contact(on(device="board", number=1))
        rig.gate.contact(on(device="board", number=2))
        rig.gate.contact(on(False, device="board", number=2))
        assert rig.gate.fire.reset(unseen=True).active == {"gate": "board", "back": "board"}
        rig.gate.contact(on(False, device="board", number=1))
        assert rig.gate.fire.reset().doors == ("gate", "back")
        await rig.flush()
        told = [e.result for e in rig.events(Stream.ALARM) if e.type == "input.fire"]
        assert told == ["active", "active", "inactive", "inactive"]

    scene(body, tmp_path)


# ---- presentations


def test_who_stands_before_a_released_door_is_told_so_and_burns_no_use(tmp_path):
    async def body(rig):
        await rig.allow("counted", use_limit=1)
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.held("gate"))
        for value, method in (("stranger", Method.QR), ("counted", Method.QR), (visitor(uses=1), Method.PASS)):
            assert await rig.present(value, method=method) == Reason.FIRE_RELEASE
        assert await rig.present("late", age=60.0) == Reason.FIRE_RELEASE
        assert rig.locks.count("gate", Action.OPEN) == 0, "an opening could end the hold"
        assert await rig.present("stranger", door="back") == Reason.UNKNOWN_CREDENTIAL
        rig.gate.contact(on(False, door="gate"))
        rig.gate.fire.reset()
        await until(lambda: rig.locks.open["gate"] is None)
        assert await rig.present("counted") == Reason.GRANTED
        assert await rig.present("counted") == Reason.ALREADY_USED

    scene(body, tmp_path)


def test_the_rig_ends_clean(tmp_path):
    """Tasks of fire and exits end with the gate."""

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        await rig.gate.close()
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith(("fire", "exit"))]

    scene(body, tmp_path)
