"""Rows A15, B8, B14 and B15: what a terminal may claim on a real broker, and the word in the journal for it."""

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.mqtt_terminal import build
from lintel.edge.model import Direction, Door, Method, Notice, PersonKind, Stream
from lintel.edge.persons import Consent
from lintel.edge.profiles import builtin
from lintel.edge.store import CredentialPut
from tests.brokers import publish, site
from tests.edge.drivers.mqtt_rig import A, B, local, qr, rec, rec_topic

from .stage import at_work, context, decided, gate, told

DOORS = {
    "gate": Door("gate", "", frozenset({"public"}), "gate-lock"),
    "back": Door("back", "", frozenset({"public"}), "back-lock", min_liveness=0.5),
}
LIFE = 3600.0


def terminal(address=A, door="gate", profile="mqtt-face"):
    return Device(f"dev-{address}", address, door, Direction.IN, builtin()[profile])


def driver(rig, port, *devices):
    line = Line("broker", "mqtt_terminal", {"port": port, "client_id": "gw", "burst": 100_000, "rate": 100_000.0})
    return build(line, devices, context(rig))


async def people(rig, *ids, seq=1, **fields):
    """Residents with a face and a QR code; both credentials are called like the person."""
    fields = {"valid_to": time.time() + LIFE, "consent": Consent.GRANTED} | fields
    puts = [
        CredentialPut(rig.digest(method, who), f"{who}", PersonKind.OWNER, method, ("public",), **fields)
        for who in ids
        for method in (Method.FACE, Method.QR)
    ]
    await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=seq, synced_at=time.time())


@asynccontextmanager
async def scene(path, *devices, doors=DOORS, shift=0.0):
    """A gate, a broker, a running line with these devices, and a client that plays them."""
    async with gate(path, shift, doors=doors) as rig, site() as place:
        await people(rig, "p-1")
        async with at_work(rig, driver(rig, place.port, *devices)), place.client("device") as client:
            yield rig, place, client


# ---- A15

CLAIMS = [  # what the terminal says about p-1, whom the list knows; similarity is a percentage
    ("94", "granted"),
    ('"94.000000"', "granted"),
    ("61", "low_score"),  # the limit is 80
    ('"0.99"', "low_score"),  # 0.99 per cent
    ("0", "low_score"),
    ("null", "low_score"),  # missing
    ("-1", "bad_format"),
    ("NaN", "bad_format"),
    ("1e309", "bad_format"),
    ('"NaN"', "bad_format"),
    ("[94]", "bad_format"),
    ("true", "bad_format"),
]


def claim(who, record, score, address=A):
    return json.dumps(rec(who, str(record), address, similarity1="SCORE")).encode().replace(b'"SCORE"', score.encode())


def test_a15_a_terminal_states_and_the_gateway_decides(tmp_path):
    async def main():
        async with scene(tmp_path, terminal(), terminal(B, "back")) as (rig, _, client):
            for n, (score, _) in enumerate(CLAIMS):
                await publish(client, rec_topic(), claim("p-1", n, score))
            await publish(client, rec_topic(), claim("p-deleted", 90, "100"))
            await publish(client, rec_topic(), claim("", 91, "100"))  # a stranger
            await publish(client, rec_topic(), claim("' OR 1=1 --", 92, "100"))
            words = [e.reason for e in await decided(rig, len(CLAIMS) + 3)]
            assert words == [w for _, w in CLAIMS] + ["unknown_credential"] * 2 + ["bad_format"]
            await publish(client, rec_topic(B), claim("p-1", 1, "100", B))  # no liveness where the door wants it
            assert (await decided(rig, len(CLAIMS) + 4))[-1].reason == "liveness_failed"
            assert len(rig.lock.orders) == 2

    asyncio.run(main())


def test_a15_control_a_door_that_believes_the_terminal_opens(tmp_path):
    careless = {"gate": replace(DOORS["gate"], min_score=0.0)}

    async def main():
        async with scene(tmp_path, terminal(), doors=careless) as (rig, _, client):
            await publish(client, rec_topic(), claim("p-1", 1, "61"))
            assert [e.reason for e in await decided(rig, 1)] == ["granted"]

    asyncio.run(main())


# ---- B8


def test_b8_one_order_for_one_presentation(tmp_path):
    """Retained, sent twice with and without DUP, 30 s old, and from before a reconnect: one opens, once."""

    async def main():
        async with gate(tmp_path, doors=DOORS) as rig, site() as place, place.client("device") as client:
            await people(rig, "p-1")
            line = driver(rig, place.port, terminal())
            await publish(client, rec_topic(), rec("p-1", "1"), retain=True)
            async with at_work(rig, line):
                await told(rig, Notice.RETAINED_IGNORED)
                for _ in range(3):
                    await publish(client, rec_topic(), rec("p-1", "2", time=local(-1)))
                await publish(client, rec_topic(), rec("p-1", "3", time=local(-30)))
                await publish(client, f"mqtt/face/{A}/QRCode", qr("p-1"))
                words = [(e.record[:1], e.reason) for e in await decided(rig, 3)]
                assert words == [("2", "granted"), ("3", "stale_reading"), ("", "granted")]
                assert rig.health.total("duplicates") == 2
            orders = len(rig.lock.orders)
            assert orders == 2
            await publish(client, f"mqtt/face/{A}/QRCode", qr("p-1"))  # we are away: the broker keeps it
            async with at_work(rig, line):
                assert [e.reason for e in await decided(rig, 4)][3:] == ["stale_reading"]
                await publish(client, f"mqtt/face/{A}/QRCode", qr("p-1"))
                assert [e.reason for e in await decided(rig, 5)][4:] == ["granted"]
            assert len(rig.lock.orders) == orders + 1

    asyncio.run(main())


@pytest.mark.parametrize("off", [0.0, -LIFE], ids=["a right clock", "an hour behind"])
def test_b8_what_the_terminal_itself_held_back_opens_nothing(tmp_path, off):
    """It lost its network, recognised somebody or read a code, and tells so when nobody stands there any more."""

    def face(n, late):
        said = time.time() + off - late
        body = {"sn": "SN1", "per_id": "p-1", "matched": "91.2", "sec": int(said), "usec": int(said % 1 * 1e6)}
        return {"type": "face_result", "body": body | {"sequence": n}}

    async def main():
        async with scene(tmp_path, terminal("SN1", profile="yld"), terminal(A)) as (rig, _, client):
            await publish(client, "face/response", face(1, 0.0))
            await publish(client, "face/response", face(2, 12.5))
            await publish(client, "online/response", {"cmd": "mqtt_online", "sn": "SN1", "result": "ok"})
            await publish(client, "face/response", face(3, 12.5))
            await publish(client, "face/response", face(4, 0.0))
            assert [e.reason for e in await decided(rig, 4)] == ["granted", "stale_reading", "stale_reading", "granted"]
            for late in (600, 30, 12.5, 0):
                code = qr("p-1")
                code["info"]["time"] = local(-late)
                await publish(client, f"mqtt/face/{A}/QRCode", code)
            assert [e.reason for e in await decided(rig, 8)][4:] == ["stale_reading"] * 3 + ["granted"]
            assert len(rig.lock.orders) == 3

    asyncio.run(main())


# ---- B14


def stream(seed):
    """Numbers and times of a device's life, with repeats, gaps, resets, the wrap; and what should be told about it."""
    rng = random.Random(seed)
    number, since, sent, told = rng.choice((1, 2**32 - 40)), 0, [], set()
    for at in range(200):
        step = rng.choice(("next", "next", "next", "again", "replay", "gap", "reset"))
        if step in ("again", "replay") and sent[since:]:
            sent.append(rng.choice(sent[since:]) if step == "replay" else sent[-1])
            continue
        last = number
        if step == "reset" and 50 < number < 2**31:
            number, since = rng.randrange(1, 5), len(sent)
            told.add((Notice.SEQUENCE_RESET, f"{last} to {number}"))
        elif step == "gap" and sent:
            number = (number + rng.randrange(2, 9)) % 2**32
            told.add((Notice.SEQUENCE_GAP, f"{last} to {number}"))
        elif sent:
            number = (number + 1) % 2**32
        sent.append((number, at))
    return sent, told


@pytest.mark.parametrize("seed", range(3))
def test_b14_what_is_stored_is_what_is_distinct(tmp_path, seed):
    sent, expected = stream(seed)

    async def main():
        async with scene(tmp_path, terminal()) as (rig, _, client):
            start = int(time.time()) - 5000  # history: stored, not acted on
            for number, at in sent:
                said = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start + at))
                await publish(client, rec_topic(), rec("p-1", str(number), time=said), qos=0)
            await publish(client, f"mqtt/face/{A}/QRCode", qr("p-1"))  # the last: what is in a lane comes before it
            rows = await decided(rig, len(set(sent)) + 1)
            assert len(rows) == len(set(sent)) + 1
            assert len({e.record for e in rows}) == len(rows)
            assert rig.health.total("duplicates") == len(sent) - len(set(sent))
            kept = {(e.reason, e.detail) for e in rig.events(Stream.TELEMETRY) if e.reason.startswith("sequence")}
            assert kept == expected
            assert len(rig.lock.orders) == 1, "history opens nothing"

    asyncio.run(main())


# ---- B15


@pytest.mark.parametrize("off", ["1970", "2099", "an hour ahead", "an hour behind", "jumping"])
def test_b15_no_pass_is_decided_by_the_clock_of_a_device(tmp_path, off):
    rng = random.Random(off)
    far = {
        "1970": 0.0,
        "2099": 4_070_908_800.0,
        "an hour ahead": time.time() + LIFE,
        "an hour behind": time.time() - LIFE,
    }

    def face(n, who):
        said = far.get(off) or (rng.uniform(0, 4e9) if off == "jumping" else 0.0)
        body = {"sn": "SN1", "per_id": who, "matched": "91.2", "sec": int(said), "usec": 0, "sequence": n}
        return {"type": "face_result", "body": body}

    async def main():
        async with scene(tmp_path, terminal("SN1", profile="yld"), terminal(A)) as (rig, _, client):
            now = time.time()
            await people(rig, "p-old", seq=2, valid_from=now - 2 * LIFE, valid_to=now - LIFE / 2)  # in force, it claims
            await people(rig, "p-new", seq=3, valid_from=now + LIFE / 2, valid_to=now + 2 * LIFE)
            for n, who in enumerate(("p-1", "p-old", "p-new", "p-1")):
                await publish(client, "face/response", face(n, who))
            words = [e.reason for e in await decided(rig, 4)]
            assert words == ["granted", "expired", "not_yet_valid", "granted"]
            await told(rig, Notice.DEVICE_CLOCK_OFF)
            rows = rig.decisions()
            assert all(abs(e.ts / 1000 - time.time()) < 30 for e in rows), "our time orders"
            assert rows[0].record == f"0-{int(far.get(off, 0))}-face" or off == "jumping", (
                "the device's time is kept too"
            )
            # a model whose time says what is live: a wrong clock makes it history, never a grant of another time
            for n, who in enumerate(("p-1", "p-old", "p-new")):
                said = face(n, who)["body"]["sec"]
                await publish(client, rec_topic(), rec(who, str(n), time=local(said - time.time())))
            words = [e.reason for e in await decided(rig, 7)][4:]
            assert words == ["stale_reading"] * 3

    asyncio.run(main())


def test_b15_control_a_gate_that_takes_over_the_time_of_the_device_lets_the_expired_one_in(tmp_path):
    async def main():
        async with scene(tmp_path, terminal("SN1", profile="yld"), shift=-LIFE) as (rig, _, client):
            now = time.time()
            await people(rig, "p-old", seq=2, valid_from=now - 2 * LIFE, valid_to=now - LIFE / 2)
            body = {"sn": "SN1", "per_id": "p-old", "matched": "91.2", "sec": int(now - LIFE), "usec": 0, "sequence": 1}
            await publish(client, "face/response", {"type": "face_result", "body": body})
            assert [e.reason for e in await decided(rig, 1)] == ["granted"]

    asyncio.run(main())
