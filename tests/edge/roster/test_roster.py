"""The SQL of the person lists against a plain reading of its rules."""

import random
from dataclasses import replace

import pytest

from lintel.edge.model import Method, PersonKind, Status
from lintel.edge.persons import Consent, State
from lintel.edge.store import CredentialPut, Del, ItemPut, Type
from lintel.edge.store.roster import BEGIN, OVERDUE_S, Place, Sight, Turn
from tests.edge.rig import T0, run

GROUPS = ("gate", "gate-2", "tower")
DAY = 86_400.0


def random_put(rig, rng, n):
    method = Method.FACE if rng.random() < 0.85 else Method.QR
    return CredentialPut(
        rig.digest(method, f"p{n}"), f"per_{n % 40}", PersonKind.OWNER, method,
        tuple(rng.sample(GROUPS, rng.randint(0, 2))), rng.choice([Status.ACTIVE] * 3 + list(Status)),
        rng.choice([None, None, T0 - DAY, T0 + 3600, T0 + 2 * DAY]), rng.choice([None, None, T0 + 3 * DAY, T0 - 1, T0]),
        rev=1, id=rng.choice(["", f"crd_{n}"]), consent=rng.choice([Consent.GRANTED] * 3 + [*Consent, None]),
        face=f"p{n}" if rng.random() < 0.95 else "",
    )  # fmt: skip


def is_wanted(put, blocks, groups, now, lead):
    credential = put.id or put.digest.hex()
    blocked = any(s in blocks and (blocks[s] is None or blocks[s] > now) for s in (put.person, credential))
    return (
        put.method is Method.FACE and put.face != "" and put.consent is Consent.GRANTED and put.status is Status.ACTIVE
        and not blocked and bool(set(put.groups) & set(groups))
        and (put.valid_to is None or put.valid_to > now) and (put.valid_from is None or put.valid_from <= now + lead)
    )  # fmt: skip


async def fill(rig, rng, count=300):
    puts = [random_put(rig, rng, n) for n in range(count)]
    credentials = [p.id or p.digest.hex() for p in puts]
    blocks = {f"per_{rng.randrange(40)}": rng.choice([None, T0 - 5, T0 + 500]) for _ in range(4)}
    blocks |= {rng.choice(credentials): None for _ in range(20)}
    items = [ItemPut(Type.BLOCK, name, {"until": until}, 1) for name, until in blocks.items()]
    await rig.store.allowlist.apply_checkpoint([*puts, *items], epoch=1, seq=1, synced_at=T0)
    return puts, blocks


async def all_of(ask, place, now, limit):
    found, after = [], BEGIN
    while rows := await ask(place, now, after, limit):
        assert len(rows) <= limit
        found += rows
        after = rows[-1].key
    return found


@pytest.mark.parametrize("seed", range(4))
def test_who_is_wanted_is_what_the_rules_say(tmp_path, seed):
    async def body(rig):
        rng = random.Random(seed)
        puts, blocks = await fill(rig, rng)
        for groups in (("gate",), ("tower", "gate-2"), ("none",), ()):
            for lead in (0.0, DAY):
                place = Place("t1", groups, timed=True, lead=lead)
                want = {p.face for p in puts if is_wanted(p, blocks, groups, T0, lead)}
                found = await all_of(rig.store.roster.to_put, place, T0, 7)
                assert {w.name for w in found} == want
                assert [w.key for w in found] == sorted(w.key for w in found)
                assert (await rig.store.roster.counts(place, T0)).wanted == len(want)

    run(body, tmp_path)


BLIND, OLD = Sight(blind=True), Sight(old=True)


@pytest.mark.parametrize("seed", range(2))
def test_without_the_time_who_has_a_validity_is_neither_sent_nor_deleted(tmp_path, seed):
    async def body(rig):
        puts, blocks = await fill(rig, random.Random(seed))
        roster, place = rig.store.roster, Place("t1", GROUPS, timed=True, lead=0.0)
        for_ever = dict.fromkeys(blocks)
        sent = {p.face for p in puts if is_wanted(p, for_ever, GROUPS, T0, 0.0) and p.valid_from is p.valid_to is None}
        assert {w.name for w in await roster.to_put(place, T0, BEGIN, 999, BLIND)} == sent
        await roster.enter("t1", [(key(p), p.face or "?", State.STORED) for p in puts])
        open_ended = [replace(p, valid_from=None, valid_to=None) for p in puts]
        endless = {name: until for name, until in blocks.items() if until is None}
        gone = {key(p) for p in open_ended if not is_wanted(p, endless, GROUPS, T0, 0.0)}
        assert {e.key for e in await roster.to_drop(place, T0, BEGIN, 999, BLIND)} == gone
        seen = {e.key for e in await roster.to_drop(place, T0, BEGIN, 999)}
        assert seen > gone, "with the time, who is expired goes as well"
        assert (await roster.counts(place, T0, BLIND)).deleting == len(gone)
        await roster.turn("t1", [Turn(k, gone=True) for k in gone])
        assert (await roster.counts(place, T0, BLIND)).next is None, "neither a validity nor a block"

    run(body, tmp_path)


def test_by_an_older_list_only_what_no_newer_one_takes_back_is_deleted(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        names = (
            "stays",
            "missing",
            "suspended",
            "elsewhere",
            "revoked",
            "withdrawn",
            "erased",
            "gone",
            "withdrawn-gone",
        )
        await put(rig, *(face(rig, n) for n in names))
        everybody = await roster.to_put(PLACE, T0, BEGIN, 99)
        await roster.sending("t1", everybody)
        await roster.turn("t1", [Turn(w.key, State.STORED, held=True) for w in everybody])
        await put(
            rig, face(rig, "suspended", status=Status.SUSPENDED, rev=2), face(rig, "elsewhere", groups=(), rev=2),
            face(rig, "revoked", status=Status.REVOKED, rev=2),
            *(face(rig, n, consent=Consent.WITHDRAWN, rev=2) for n in ("withdrawn", "withdrawn-gone")), seq=2,
        )  # fmt: skip
        dels = [("missing", "deleted"), ("erased", "erased"), ("gone", "revoked"), ("withdrawn-gone", "deleted")]
        await put(rig, *(Del(Type.CREDENTIAL, face(rig, n).digest.hex(), 3, why) for n, why in dels), seq=3)
        sure = ["erased", "gone", "revoked", "withdrawn", "withdrawn-gone"]
        assert sorted(e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 99, OLD)) == sure
        assert len(await roster.to_drop(PLACE, T0, BEGIN, 99)) == len(names) - 1
        assert (await roster.counts(PLACE, T0, OLD)).deleting == len(sure)

    run(body, tmp_path)


def test_how_long_a_deletion_waits_is_noted_once_and_forgotten_when_it_is_none_any_more(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, face(rig, "p1"), face(rig, "p2"))
        two = await roster.to_put(PLACE, T0, BEGIN, 9)
        await roster.sending("t1", two)
        await roster.turn("t1", [Turn(w.key, State.STORED, held=True) for w in two])
        await put(rig, face(rig, "p1", rev=2, consent=Consent.WITHDRAWN), seq=2)
        assert (await roster.counts(PLACE, T0)).unmarked == 1
        await roster.mark(PLACE, T0)
        await roster.mark(PLACE, T0 + 40)
        counts = await roster.counts(PLACE, T0 + OVERDUE_S - 1)
        assert (counts.since, counts.overdue, counts.unmarked) == (T0, 0, 0)
        assert (await roster.counts(PLACE, T0 + OVERDUE_S)).overdue == 1
        (row,) = await roster.to_drop(PLACE, T0, BEGIN, 9)
        await roster.turn("t1", [Turn(row.key, State.DELETING, held=True, tries=3, due=T0 + 5)])
        counts = await roster.counts(PLACE, T0 + 1)
        assert (counts.since, counts.overdue) == (T0, 1), "three times in vain is too long as well"
        await put(rig, face(rig, "p1", rev=3), seq=3)
        assert (await roster.counts(PLACE, T0 + 99)).unmarked == 1
        await roster.mark(PLACE, T0 + 99)
        await put(rig, face(rig, "p1", rev=4, groups=()), seq=4)
        await roster.mark(PLACE, T0 + 200)
        assert (await roster.counts(PLACE, T0 + 200)).since == T0 + 200, "wanted meanwhile: it waits anew"
        await roster.mark(PLACE, T0 - 500)
        assert (await roster.counts(PLACE, T0 - 500)).since == T0 - 500, "noted by a clock that was ahead"

    run(body, tmp_path)


def test_a_retry_that_a_clock_ahead_put_years_away_is_due(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, face(rig, "p1"), face(rig, "p2"), face(rig, "p3", groups=()))
        two = await roster.to_put(PLACE, T0, BEGIN, 9)
        await roster.sending("t1", two)
        year = 365 * DAY
        failed = {"why": "retry_later", "tries": 1, "held": True}
        await roster.turn("t1", [
            Turn(two[0].key, State.FAILED, due=T0 + year, **failed), Turn(two[1].key, State.FAILED, due=9e12, **failed)
        ])  # fmt: skip
        await roster.enter("t1", [(key(face(rig, "p3")), "p3", State.DELETING)])
        await roster.turn("t1", [Turn(key(face(rig, "p3")), State.DELETING, held=True, due=T0 + year)])
        assert [w.name for w in await roster.to_put(PLACE, T0, BEGIN, 9)] == [two[0].name]
        assert [e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 9)] == ["p3"]
        assert (await roster.counts(PLACE, T0)).next == T0

    run(body, tmp_path)


def key(put):
    return int.from_bytes(put.digest[:8], "big", signed=True)


def test_control_a_group_is_not_found_inside_another_groups_name(tmp_path):
    async def body(rig):
        put = CredentialPut(rig.digest(Method.FACE, "p1"), "per", PersonKind.OWNER, Method.FACE, ("gate-2",), rev=1,
                            consent=Consent.GRANTED, face="p1")  # fmt: skip
        await rig.store.allowlist.apply_checkpoint([put], epoch=1, seq=1, synced_at=T0)
        assert await rig.store.roster.to_put(Place("t", ("gate",), timed=True, lead=0), T0, BEGIN, 9) == []
        assert len(await rig.store.roster.to_put(Place("t", ("gate-2",), timed=True, lead=0), T0, BEGIN, 9)) == 1

    run(body, tmp_path)


PLACE = Place("t1", ("gate",), timed=True, lead=0.0)


def face(rig, name, **fields):
    fields = {"groups": ("gate",), "rev": 1, "consent": Consent.GRANTED, "face": name} | fields
    return CredentialPut(rig.digest(Method.FACE, name), f"per_{name}", PersonKind.OWNER, Method.FACE, **fields)


async def put(rig, *puts, seq=1):
    await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=seq, synced_at=T0)


def test_each_state_says_what_is_next(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, *(face(rig, f"p{n}") for n in range(6)))
        six = sorted(await roster.to_put(PLACE, T0, BEGIN, 9), key=lambda w: w.name)
        await roster.sending("t1", six)
        assert await roster.to_put(PLACE, T0, BEGIN, 9) == [], "what is sent waits for its answer"
        assert (await roster.counts(PLACE, T0)).sent == 6
        stored, late, bad, waits, gone, again = six
        await roster.turn("t1", [
            Turn(stored.key, State.STORED, held=True),
            Turn(late.key, State.FAILED, held=False, why="retry_later", code="465", tries=1, due=T0 + 30),
            Turn(bad.key, State.FAILED, held=False, why="photo_bad", code="468", tries=1, due=9e12),
            Turn(gone.key, State.DELETING, held=True, tries=1, due=T0 + 10),
            Turn(again.key, State.PENDING, held=True),
        ])  # fmt: skip
        names = [w.name for w in await roster.to_put(PLACE, T0, BEGIN, 9)]
        assert sorted(names) == ["p4", "p5"], "who is wanted again is sent, whatever was deleted"
        assert sorted(w.name for w in await roster.to_put(PLACE, T0 + 31, BEGIN, 9)) == ["p1", "p4", "p5"]
        counts = await roster.counts(PLACE, T0)
        assert (counts.stored, counts.sent, counts.failed, counts.pending, counts.next) == (1, 1, 2, 2, T0 + 30)
        assert (await roster.counts(PLACE, T0 + 31)).next == T0 + 30, "what became due meanwhile is due"
        rows = {r["person"]: (r["state"], r["class"], r["code"]) for r in await roster.persons(PLACE, T0)}
        assert rows == {
            "p0": ("stored", "", ""), "p1": ("failed", "retry_later", "465"), "p2": ("failed", "photo_bad", "468"),
            "p3": ("sent", "", ""), "p4": ("pending", "", ""), "p5": ("pending", "", ""),
        }  # fmt: skip
        assert [r["person"] for r in await roster.persons(PLACE, T0, only_failed=True)] == sorted(
            ["p1", "p2"], key=lambda n: next(w.key for w in six if w.name == n)
        )
        assert waits.name == "p3"

    run(body, tmp_path)


def test_a_photo_or_a_validity_that_changes_sends_a_person_again(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, face(rig, "p1"))
        (one,) = await roster.to_put(PLACE, T0, BEGIN, 9)
        await roster.sending("t1", [one])
        await roster.turn("t1", [Turn(one.key, State.STORED, held=True)])
        assert await roster.to_put(PLACE, T0, BEGIN, 9) == []
        await put(rig, face(rig, "p1", rev=2, valid_to=T0 + 50), seq=2)
        (again,) = await roster.to_put(PLACE, T0, BEGIN, 9)
        assert again.held
        blind = Place("t1", ("gate",), timed=False, lead=0.0)
        assert await roster.to_put(blind, T0, BEGIN, 9) == [], "a terminal without validities need not hear of it"
        await put(rig, face(rig, "p1", rev=3, mask="Li *"), seq=3)
        assert len(await roster.to_put(blind, T0, BEGIN, 9)) == 1

    run(body, tmp_path)


def test_who_is_not_wanted_is_deleted_until_it_is_proven(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, face(rig, "p1", valid_to=T0 + 60), face(rig, "p2"), face(rig, "p3"))
        three = sorted(await roster.to_put(PLACE, T0, BEGIN, 9), key=lambda w: w.name)
        await roster.sending("t1", three)
        await roster.turn("t1", [Turn(w.key, State.STORED, held=True) for w in three])
        assert await roster.to_drop(PLACE, T0, BEGIN, 9) == []
        assert (await roster.counts(PLACE, T0)).next == T0 + 60
        (expired,) = await roster.to_drop(PLACE, T0 + 60, BEGIN, 9)
        assert expired.name == "p1"
        await put(rig, face(rig, "p2", rev=2, consent=Consent.WITHDRAWN), face(rig, "p3", rev=2, groups=()), seq=2)
        assert sorted(e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 9)) == ["p2", "p3"]
        await roster.turn("t1", [Turn(three[1].key, State.DELETING, held=True, tries=1, due=T0 + 10)])
        assert [e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 9)] == ["p3"]
        assert (await roster.counts(PLACE, T0)).deleting == 2
        assert len(await roster.to_drop(PLACE, T0 + 10, BEGIN, 9)) == 2
        await roster.turn("t1", [Turn(three[1].key, gone=True), Turn(three[2].key, gone=True)])
        assert [e.name for e in await roster.entries("t1")] == ["p1"]

    run(body, tmp_path)


def test_rows_outlive_a_restart_and_another_device_has_its_own(tmp_path):
    async def first(rig):
        await put(rig, face(rig, "p1"))
        (one,) = await rig.store.roster.to_put(PLACE, T0, BEGIN, 9)
        await rig.store.roster.sending("t1", [one])

    async def second(rig):
        assert [(e.name, e.state) for e in await rig.store.roster.entries("t1")] == [("p1", State.SENT)]
        assert await rig.store.roster.entries("t2") == []
        await rig.store.roster.doubt("t1")
        assert [e.state for e in await rig.store.roster.entries("t1")] == [State.PENDING]

    run(first, tmp_path)
    run(second, tmp_path)
