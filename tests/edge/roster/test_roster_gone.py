"""The SQL of the person lists: who is gone from the allowlist, and may still be on a terminal."""

from lintel.edge.model import Status
from lintel.edge.persons import Consent, State
from lintel.edge.store import Del, Type
from lintel.edge.store.roster import BEGIN, OVERDUE_S, Turn
from tests.edge.rig import T0, run
from tests.edge.roster.test_roster import OLD, PLACE, face, key, put


def test_by_an_older_list_who_was_granted_again_after_a_revocation_stays(tmp_path):
    """A tombstone of the digest may outlive the one of the id, which the newer credential took away."""

    async def body(rig):
        roster = rig.store.roster
        await put(rig, face(rig, "p1", id="crd"))
        (one,) = await roster.to_put(PLACE, T0, BEGIN, 9)
        await roster.sending("t1", [one])
        await roster.turn("t1", [Turn(one.key, State.STORED, held=True)])
        await put(rig, Del(Type.CREDENTIAL, "crd", 2, "revoked"), seq=2)
        assert [e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 9, OLD)] == ["p1"]
        await put(rig, face(rig, "p1", id="crd", rev=3), seq=3)
        grave = ("credential", face(rig, "p1").digest.hex(), 2, "revoked", T0)  # as earlier versions left it there
        into = "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?)"
        await rig.store.writer.submit(lambda conn: conn.execute(into, grave), now=True)
        assert await roster.to_drop(PLACE, T0, BEGIN, 9, OLD) == []
        assert (await roster.counts(PLACE, T0, OLD)).deleting == 0
        await put(rig, face(rig, "p1", id="crd", rev=4, status=Status.REVOKED), seq=4)
        assert [e.name for e in await roster.to_drop(PLACE, T0, BEGIN, 9, OLD)] == ["p1"]

    run(body, tmp_path)


def test_who_was_never_sent_is_not_to_be_deleted(tmp_path):
    async def body(rig):
        roster = rig.store.roster
        await put(rig, *(face(rig, f"p{n}") for n in range(4)))
        four = sorted(await roster.to_put(PLACE, T0, BEGIN, 9), key=lambda w: w.name)
        no_photo = {"why": "photo_bad", "code": "no_photo", "tries": 1, "due": 9e12}
        turns = [Turn(w.key, State.FAILED, held, **no_photo) for w, held in zip(four[:2], (False, True), strict=True)]
        await roster.failed("t1", four[:2], turns)
        await roster.sending("t1", four[2:])
        await roster.turn("t1", [Turn(four[2].key)])
        await put(rig, *(face(rig, f"p{n}", rev=2, consent=Consent.WITHDRAWN) for n in range(4)), seq=2)
        assert (await roster.counts(PLACE, T0)).unmarked == 2
        await roster.mark(PLACE, T0)
        counts = await roster.counts(PLACE, T0 + OVERDUE_S)
        assert (counts.deleting, counts.overdue, counts.unmarked) == (2, 2, 0)
        leaving = [r["person"] for r in await roster.persons(PLACE, T0)]
        assert sorted(leaving) == ["p1", "p3"], "one was there before its photo went, one was not answered"
        assert len(await roster.to_drop(PLACE, T0, BEGIN, 9)) == 4, "the rows of the others go as well"

    run(body, tmp_path)


def test_who_has_a_tombstone_of_the_digest_is_ours_on_a_terminal(tmp_path):
    async def body(rig):
        await put(rig, face(rig, "there"), face(rig, "gone"), face(rig, "erased", id="crd"), face(rig, "never"))
        digests = {n: face(rig, n).digest for n in ("there", "gone", "erased", "other")}
        deleted = Del(Type.CREDENTIAL, digests["gone"].hex(), 2, "deleted")
        await put(rig, deleted, Del(Type.CREDENTIAL, "crd", 2, "erased"), seq=2)
        ours, learnt = await rig.store.roster.ours(digests)
        assert ours == {n: key(face(rig, n)) for n in ("there", "gone", "erased")}
        assert learnt == {}

    run(body, tmp_path)
