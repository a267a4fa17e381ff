"""G10: during each of ten attacks the fire input releases the door and the exit button opens. N7: a cover opens."""

import pytest

from lintel.edge.model import Action, Contact, ContactKind, DoorState, Method, Notice, Status, Stream
from lintel.edge.store import ItemPut, Type
from tests.edge.drivers.contract import until
from tests.edge.rig import visitor
from tests.edge.test_exits import QUICK, button
from tests.edge.test_fire import on, scene


async def people(rig):
    puts = [
        rig.credential("well"), rig.credential("stolen", status=Status.REVOKED),
        rig.credential("moved", status=Status.SUSPENDED), rig.credential("elsewhere", groups=("tower-a",)),
        rig.credential("barred"), ItemPut(Type.BLOCK, "barred", {"until": None}),
    ]  # fmt: skip
    await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=rig.time.wall)


async def guess(rig):
    """Tries until the reader is held back."""
    for n in range(6):
        await rig.present(f"0{n}", method=Method.CARD)


async def locked_down(rig):
    await rig.store.allowlist.set_lockdown({"public"}, True)


async def once_used(rig):
    assert await rig.present(visitor(uses=1), method=Method.PASS) == "granted"


ATTACKS = {
    # row: before, what is presented, and the word for it
    "A1": (None, {"value": "x", "fault": "bad_format"}, "bad_format"),
    "A2": (guess, {"value": "99", "method": Method.CARD}, "rate_limited"),
    "A3": (None, {"value": "nobody"}, "unknown_credential"),
    "A4": (once_used, {"value": lambda: visitor(uses=1), "method": Method.PASS}, "already_used"),
    "A5": (None, {"value": "stolen"}, "revoked"),
    "A7": (None, {"value": "moved"}, "suspended"),
    "A8": (None, {"value": lambda: visitor(seed=bytes(32)), "method": Method.PASS}, "bad_signature"),
    "A9": (None, {"value": "elsewhere"}, "no_grant"),
    "A12": (None, {"value": "barred"}, "blocked"),
    "B8": (None, {"value": "well", "age": 60.0}, "stale_reading"),
    "lockdown": (locked_down, {"value": "well"}, "lockdown"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_g10_fire_and_exit_work_during_every_attack_and_the_attack_gains_nothing(tmp_path, attack):
    before, shown, word = ATTACKS[attack]
    value = shown["value"]() if callable(shown["value"]) else shown["value"]
    options = {k: v for k, v in shown.items() if k != "value"}

    async def body(rig):
        await people(rig)
        if before is not None:
            await before(rig)
        opened = rig.locks.count("gate", Action.OPEN)
        for _ in range(2):
            assert await rig.present(value, **options) == word
            rig.gate.contact(button())
            rig.gate.contact(button(False))
            await until(lambda n=opened: rig.locks.count("gate", Action.OPEN) == n + 1)
            rig.gate.contact(on())
            await until(lambda: rig.locks.held("gate", "back"))
            assert await rig.present(value, **options) == "fire_release"
            rig.gate.contact(on(False))
            assert await rig.present(value, **options) == "fire_release"
            assert rig.locks.held("gate", "back")
            assert rig.gate.fire.reset().doors == ("gate", "back")
            await until(lambda: rig.locks.open["gate"] is None)
            opened = rig.locks.count("gate", Action.OPEN)
        assert await rig.present(value, **options) == word, "fire taught it nothing"
        assert [d.reason for d in rig.decisions()].count("egress") == 2

    scene(body, tmp_path, doors=QUICK)


def test_n7_a_cover_that_opens_is_an_alarm_once(tmp_path):
    async def body(rig):
        cover = [
            Contact("box", ContactKind.TAMPER, active, "gate")
            for active in (False, True, True, None, True, False, None, False)
        ]
        for contact in cover:
            rig.gate.contact(contact)
        rig.gate.contact(Contact("box", ContactKind.POWER, active=True, door="gate"))
        await rig.flush()
        told = [(e.type, e.reason or e.result) for e in rig.events(Stream.ALARM)]
        assert told == [
            ("input.tamper", "active"), ("notice", Notice.TAMPER), ("input.tamper", "inactive"),
            ("input.power", "active"), ("notice", Notice.POWER),
        ]  # fmt: skip
        assert rig.locks.orders == []

    scene(body, tmp_path)


def test_a_contact_of_its_own_knows_better_than_the_lock(tmp_path):
    async def body(rig):
        ledger = rig.gate.ledger
        ledger.position(DoorState("gate-lock", 0, open=False))
        ledger.position(DoorState("reed", 0, open=True, door="gate"))
        ledger.position(DoorState("gate-lock", 0, open=False))
        assert ledger.positions == {"gate": "open"}
        for _ in range(3):  # its line flaps
            ledger.position(DoorState("reed", 0, open=True, door="gate"))
            ledger.position(DoorState("reed", 0, open=None, door="gate"))
        ledger.position(DoorState("back-lock", 0, open=True))
        assert ledger.positions == {"gate": "unknown", "back": "open"}
        await rig.flush()
        moved = [(e.door, e.device, e.result) for e in rig.events() if e.type == "door.position"]
        assert moved == [("gate", "gate-lock", "closed"), ("gate", "reed", "open"), ("back", "back-lock", "open")]

    scene(body, tmp_path)


def test_control_g10_a_gate_that_knows_no_fire_refuses_at_a_released_door(tmp_path, monkeypatch):
    monkeypatch.setattr("lintel.edge.fire.Fire.released", lambda self, door: False)

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.orders)
        assert await rig.present("nobody") == "unknown_credential"

    scene(body, tmp_path)
