"""The normal case and every refusal, end to end: what is held before a device, what the door does, what is recorded."""

import asyncio
import base64
import time

import pytest
import qrcode

from lintel.edge.model import Status
from lintel.edge.passes import rotating
from lintel.edge.store import ItemPut, PassPut, Type

from .invariants import finish, granted_only, leaks, one_row_each, vitals
from .people import RESIDENTS, person, visitor
from .site import run

SECRET = bytes(range(32, 64))


def test_a_resident_passes_by_code_by_face_and_by_a_code_before_the_camera():
    async def body(site):
        before = vitals(site.pid)
        assert await site.scan(RESIDENTS[0].code) == "granted"
        await site.ordered("gate", 1)
        assert await site.face("res1") == "granted"
        await site.ordered("gate", 2)
        assert await site.shown(RESIDENTS[2].code) == "granted"
        await site.ordered("gate", 3)
        assert await site.face("res1", "back") == "granted"
        await site.ordered("back", 1)
        decisions = await finish(site, before)
        assert sorted((e.person, e.method, e.door) for e in decisions) == [
            ("res0", "qr", "gate"), ("res1", "face", "back"), ("res1", "face", "gate"), ("res2", "qr", "gate"),
        ]  # fmt: skip

    run(body)


def test_a_visitor_shows_a_pass_as_a_picture(tmp_path):
    async def body(site):
        token = visitor()
        picture = tmp_path / "pass.png"
        qrcode.make(token).save(picture)
        assert await site.scan(picture=str(picture)) == "granted"
        await site.ordered("gate", 1)
        (decision,) = await finish(site, secrets=[token])
        assert (decision.credential, decision.method) == ("vp_42", "pass")

    run(body)


def test_a4_a_one_time_pass_at_two_doors_at_once_opens_one_and_a_restart_does_not_renew_it():
    async def body(site):
        token = visitor(uses=1)
        site.presented += 2
        await asyncio.gather(*(site.devices.command("scan", id=f"{d}-qr", text=token) for d in ("gate", "back")))
        await site.seen(type="access.decision", door="gate")
        await site.seen(type="access.decision", door="back")
        reasons = sorted(e["reason"] for e in site.feed if e.get("type") == "access.decision")
        assert reasons == ["already_used", "granted"]
        await site.kill()
        site.feed.clear()
        site._taken = 0
        await site.start()
        assert await site.scan(token) == "already_used"
        assert len(await site.orders("gate")) + len(await site.orders("back")) == 1
        await finish(site, secrets=[token])

    run(body)


PEOPLE = [
    person("bob", status=Status.REVOKED), person("carol", status=Status.SUSPENDED), person("dave", groups=("tower-a",)),
    person("erin", valid_to=1_700_000_000.0), person("frank", valid_from=4_000_000_000.0),
    person("grace", schedule="nowhere"), person("heidi", use_limit=1), person("ivan"),
]  # fmt: skip
CODE = {p.id: p.code for p in PEOPLE}


def test_every_word_that_a_reader_or_terminal_can_cause():
    async def body(site):
        before = vitals(site.pid)
        words = [
            await site.scan(CODE[who])
            for who in ("bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
        ]  # fmt: skip
        assert words == [
            "revoked", "suspended", "no_grant", "expired", "not_yet_valid", "outside_schedule", "granted", "blocked",
        ]  # fmt: skip
        assert await site.face("heidi", "back") == "granted", "a face is another credential: counted by itself"
        words += [await site.shown(CODE["heidi"])]
        words += [await site.face("res0"), await site.face("res1", "back", similarity=61.0)]
        words += [await site.scan(RESIDENTS[0].code, "back")]
        assert words[-4:] == ["already_used", "liveness_failed", "low_score", "method_disabled"]
        site.presented += 1
        await site.devices.command("stranger", id="1001")
        words += [await site.decision("gate")]
        assert words[-1] == "unknown_credential"
        passes = [
            (visitor(seed=bytes(32)), "bad_signature"), (visitor(key_id=8), "untrusted_key"),
            (visitor(mask=2, pass_id=43), "wrong_scope"), (visitor(site=4711), "wrong_scope"),
            (visitor(start=3600), "not_yet_valid"), (visitor(start=-7200), "expired"),
            (rotating(SECRET, 9, time.time()), "granted"), (rotating(SECRET, 9, time.time() - 300), "replayed"),
        ]  # fmt: skip
        for n, (token, word) in enumerate(passes):
            words.append(await site.shown(token) if n % 2 else await site.scan(token))
            assert words[-1] == word
        assert (await site.ask("lockdown", groups=["gate"], on=True)) == {"lockdown": ["gate"], "durable": True}
        words += [await site.scan(RESIDENTS[1].code)]
        assert (await site.ask("lockdown", groups=["gate"], on=False)) == {"lockdown": [], "durable": True}
        assert words[-1] == "lockdown"
        for n in range(5):
            assert await site.scan(f"guess-{n}") == "unknown_credential"
        words += [await site.scan(RESIDENTS[3].code), await site.scan(visitor(pass_id=44))]
        assert words[-2:] == ["granted", "granted"], "codes that can not be guessed are checked also meanwhile"
        await site.devices.command("fault", id="1002", wrong_identity="6666")
        await site.devices.command("face", id="1002", person="res0")
        await site.seen(reason="identity_mismatch")
        decisions = await finish(site, before, secrets=[t for t, _ in passes])
        assert {e.reason for e in decisions} == set(words) | {"granted"}

    block = ItemPut(Type.BLOCK, "ivan", {"until": None})
    doors = {"gate": "min_liveness = 0.5", "back": 'methods = ["face", "pass"]'}
    run(body, people=PEOPLE, passes=[block, PassPut(9, ("public",), secret=SECRET)], doors=doors)


def test_a_list_that_grew_too_old_and_a_lock_that_refuses_or_is_gone():
    async def body(site):
        await asyncio.sleep(1.0)
        assert await site.scan(RESIDENTS[0].code) == "allowlist_too_old"
        await site.devices.command("fault", id="1002", refuse=1)
        assert await site.scan(RESIDENTS[0].code, "back") == "granted"
        assert (await site.seen(type="door.order"))["result"] == "refused_by_device"
        await site.devices.command("disconnect", id="1002", will=True)
        await site.seen(reason="comms_lost", device="back-face")
        assert await site.resident("back") == "granted"
        assert (await site.event(type="door.order", result="not_sent"))["device"] == "back-face"
        await site.devices.command("connect", id="1002")
        await site.event(reason="comms_restored", device="back-face")
        await asyncio.sleep(0.5)
        assert await site.orders("back") == [], "no late opening"
        await finish(site)

    run(body, doors={"gate": "max_list_age = 1.0"})


def test_control_the_invariants_see_what_they_are_for():
    """An order without a decision, a row too few, a row twice and a planted secret in any form are found."""

    async def body(site):
        assert await site.resident() == "granted"
        await site.ordered("gate", 1)
        orders = {"gate": await site.orders("gate")}
        await site.stop()
        decisions = site.decisions()
        granted_only(orders, decisions)
        one_row_each(decisions, 1)
        for wrong in ({"gate": orders["gate"] * 2}, {"gate": [orders["gate"][0] + 5]}, {"back": orders["gate"]}):
            with pytest.raises(AssertionError, match="G2"):
                granted_only(wrong, decisions)
        for rows, count in ((decisions, 2), (decisions * 2, 2)):
            with pytest.raises(AssertionError, match="G3"):
                one_row_each(rows, count)

    run(body)
    for text in (b"CANARY-x-7f3a", b"CANARY-x-7f3a".hex().encode(), base64.b64encode(b"..CANARY-x-7f3a.."),
                 base64.b64encode(b"CANARY-x-7f3a."), b"a3f7-x-YRANAC"):  # fmt: skip
        assert leaks(["CANARY-x-7f3a"], [("log", b"a line " + text + b" of a log")])
    assert not leaks(["CANARY-x-7f3a"], [("log", b"a line of a log")])
