"""N5: the exit button opens at once and is recorded once, for as long as it is pressed, whatever else is wrong."""

import asyncio

from lintel.edge.errors import StoreError
from lintel.edge.gate import UNDER_WAY
from lintel.edge.model import Action, ClockState, Contact, ContactKind, Door, Outcome, Reason, Stream
from tests.edge.drivers.contract import until
from tests.edge.test_fire import Lock, on, scene

QUICK = {d: Door(d, d, frozenset({"public"}), f"{d}-lock", open_s=0.4) for d in ("gate", "back")}


def button(active=True, door="gate", device="button"):
    return Contact(device, ContactKind.EXIT, active, door)


def press(rig, **which):
    rig.gate.contact(button(**which))
    rig.gate.contact(button(False, **which))


async def recorded(rig):
    await rig.flush()
    return [(e.door, e.device, e.reason, e.result, e.direction) for e in rig.decisions()]


EGRESS = ("gate", "button", Reason.EGRESS, "open", "out")


def test_n5_one_press_is_one_order_and_one_line(tmp_path):
    async def body(rig):
        press(rig)
        await until(lambda: rig.locks.orders)
        await asyncio.sleep(0.5)
        (order,) = rig.locks.orders
        assert (order.door, order.device, order.action, order.seconds) == ("gate", "gate-lock", Action.OPEN, 0.4)
        assert await recorded(rig) == [EGRESS]
        assert rig.events(Stream.ALARM) == []

    scene(body, tmp_path, doors=QUICK)


def test_two_buttons_of_one_device_are_two(tmp_path):
    async def body(rig):
        both = [Contact("board", ContactKind.EXIT, True, "gate", number) for number in (0, 1)]
        for contact in both:
            rig.gate.contact(contact)
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 2)
        rig.gate.contact(Contact("board", ContactKind.EXIT, False, "gate", 1))
        count = rig.locks.count("gate", Action.OPEN)
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= count + 3)
        rig.gate.contact(Contact("board", ContactKind.EXIT, False, "gate", 0))
        assert await recorded(rig) == [("gate", "board", *EGRESS[2:])] * 2

    scene(body, tmp_path, doors=QUICK)


def test_a_driver_whose_own_future_is_cancelled_is_tried_again(tmp_path):
    async def body(rig):
        rig.locks.error = asyncio.CancelledError()
        rig.gate.contact(button())
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 2)
        rig.locks.error = None
        await until(lambda: rig.locks.open.get("gate") is Action.OPEN)
        rig.gate.contact(button(False))

    scene(body, tmp_path, doors=QUICK)


def test_n5_a_button_that_stays_pressed_keeps_the_exit_free_and_is_recorded_once(tmp_path):
    """Ten minutes in the shape of ten pulses; a second button beside it works all the time."""

    async def body(rig):
        rig.gate.contact(button())
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 10, 20)
        press(rig, device="other")
        rig.gate.contact(button())  # said again
        rig.gate.contact(button(None))  # its line flaps
        rig.gate.contact(button())
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 14, 20)
        rig.gate.contact(button(False))
        assert await recorded(rig) == [EGRESS, ("gate", "other", *EGRESS[2:])]
        await asyncio.sleep(0.5)
        count = len(rig.locks.orders)
        await asyncio.sleep(0.5)
        assert len(rig.locks.orders) == count, "and then it is over"

    scene(body, tmp_path, doors=QUICK)


def test_presses_in_a_row_are_one_order_each(tmp_path):
    async def body(rig):
        for _ in range(5):
            press(rig)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.6)
        assert rig.locks.count("gate", Action.OPEN) == 5
        assert await recorded(rig) == [EGRESS] * 5

    scene(body, tmp_path, doors=QUICK)


def test_it_goes_past_a_full_queue(tmp_path):
    async def body(rig):
        stuck = asyncio.Event()

        async def execute(order):
            await stuck.wait()
            return Outcome.EXECUTED

        await rig.allow("r1")
        rig.gate.execute = execute
        waiting = [await rig.gate.present(rig.reading("r1")) for _ in range(2)]
        while rig.gate.offer(rig.reading("r1")) is not None:
            pass
        press(rig)
        await until(lambda: rig.locks.count("gate", Action.OPEN))
        stuck.set()
        await asyncio.gather(*waiting)

    scene(body, tmp_path, doors=QUICK, wait=30.0)


def test_control_a_press_that_queued_like_a_presentation_would_wait(tmp_path):
    async def body(rig):
        stuck = asyncio.Event()
        orders = []

        async def execute(order):
            orders.append(order)
            await stuck.wait()
            return Outcome.EXECUTED

        await rig.allow("r1")
        rig.gate.execute = execute
        for _ in range(UNDER_WAY + 2):
            await rig.gate.present(rig.reading("r1"))
        await asyncio.sleep(0.3)
        assert len(orders) == UNDER_WAY
        stuck.set()

    scene(body, tmp_path, doors=QUICK)


def test_it_needs_neither_list_nor_clock_nor_the_end_of_a_lockdown(tmp_path):
    async def body(rig):
        await rig.allow("r1")
        await rig.store.allowlist.set_lockdown({"public"}, on=True)
        assert await rig.present("r1") == Reason.LOCKDOWN

        def broken(*_):
            raise StoreError("db_damaged", "gone")

        rig.store.allowlist.find = rig.store.allowlist.site = broken
        assert rig.clock.now().state is ClockState.UNKNOWN
        press(rig)
        await until(lambda: rig.locks.count("gate", Action.OPEN) == 1)

    scene(body, tmp_path, doors=QUICK, synced=lambda: False)


def test_a_store_that_fails_or_raises_stops_no_press(tmp_path):
    async def body(rig):
        def failing(*_, **__):
            raise StoreError("disk_full", "no")

        rig.store.journal.append = failing
        press(rig)
        await until(lambda: rig.locks.count("gate", Action.OPEN) == 1)

    scene(body, tmp_path, doors=QUICK)


def test_a_lock_that_is_away_is_told_and_asked_again_only_while_the_button_is_pressed(tmp_path):
    async def body(rig):
        rig.locks.away.add("gate-lock")
        press(rig)
        await asyncio.sleep(0.7)
        assert rig.locks.count("gate", Action.OPEN) == 1
        rig.gate.contact(button())
        await until(lambda: rig.locks.count("gate", Action.OPEN) >= 4, 10)
        rig.gate.contact(button(False))
        await rig.flush()
        told = [(e.result, e.reason) for e in rig.events() if e.type == "door.order"]
        assert told == [(Outcome.NOT_SENT, "egress")] * 2, "once for each press"

    scene(body, tmp_path, doors=QUICK)


def test_a_door_that_fire_holds_gets_no_opening_that_could_end_it(tmp_path):
    async def body(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.held("gate"))
        press(rig)
        await asyncio.sleep(0.3)
        assert rig.locks.count("gate", Action.OPEN) == 0
        assert await recorded(rig) == [EGRESS]

    scene(body, tmp_path, doors=QUICK)


def test_a_button_of_no_door_is_no_error(tmp_path):
    async def body(rig):
        press(rig, door="elsewhere")
        await asyncio.sleep(0)
        assert isinstance(rig.locks, Lock)
        assert rig.locks.orders == []

    scene(body, tmp_path, doors=QUICK)
