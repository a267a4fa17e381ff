"""Consent: a face without it opens nothing, and a withdrawal is lifted only by a grant that is newer."""

import pytest

from lintel.edge import policy
from lintel.edge.model import Method, PersonKind, Status
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Del, Type
from lintel.edge.store.changes import CONSENTS
from lintel.edge.store.consents import Withdrawals
from tests.edge.rig import T0, run
from tests.edge.roster.rig import jpeg
from tests.edge.store.test_faces import apply, consent, faces, put, sweep

GRANTED, WITHDRAWN = Consent.GRANTED, Consent.WITHDRAWN


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([(GRANTED, 1), (WITHDRAWN, 2)], "withdrawn"),
        ([(WITHDRAWN, 2), (GRANTED, 1)], "withdrawn"),  # an older grant arrives late
        ([(WITHDRAWN, 2), (GRANTED, 2)], "withdrawn"),  # at the same time, deny wins
        ([(GRANTED, 2), (WITHDRAWN, 2)], "withdrawn"),
        ([(WITHDRAWN, 2), (GRANTED, 3)], "granted"),
        ([(WITHDRAWN, 2), (GRANTED, None)], "withdrawn"),  # a file without revisions lifts nothing
        ([(WITHDRAWN, 2), (None, 3)], "withdrawn"),  # a file that says nothing about it
        ([(GRANTED, 1), (None, 2)], "granted"),
        ([(GRANTED, 1), (WITHDRAWN, None)], "withdrawn"),
        ([(None, 1)], "none"),
        ([(WITHDRAWN, 2), (Consent.NONE, 3), (GRANTED, None)], "withdrawn"),  # "none" is no grant
    ],
)
def test_f3_a_withdrawal_is_lifted_only_by_a_later_grant(tmp_path, words, left):
    async def body(rig):
        for said, rev in words:
            if rev is None:
                await rig.store.allowlist.apply_import([put(rig, consent=said, rev=None)], at=T0, replace=False)
            else:
                await apply(rig, put(rig, consent=said, rev=rev), seq=9)
        assert consent(rig) == left

    run(body, tmp_path)


@pytest.mark.parametrize("rev", [None, 2])
@pytest.mark.parametrize("end", ["left out of the list", "deleted", "erased", "out of scope"])
def test_f3_a_withdrawal_outlives_its_row(tmp_path, end, rev):
    """Whatever removes the row: who says nothing newer does not bring the consent back. Nor does a restart, or age."""

    async def first(rig):
        await apply(rig, put(rig), put(rig, "p2"))
        await apply(rig, put(rig, consent=WITHDRAWN, rev=2), seq=2)
        if end == "left out of the list":
            await rig.store.allowlist.apply_import([put(rig, "p2", rev=None)], at=T0, replace=True)
        elif end == "out of scope":
            await rig.store.allowlist.apply_checkpoint([put(rig, "p2")], epoch=1, seq=3, synced_at=T0, full=True)
        else:
            await apply(rig, Del(Type.CREDENTIAL, rig.digest(Method.FACE, "p1").hex(), 2, end), seq=3)
        assert [name for _, name, *_ in faces(rig)] == ["p2"]

    async def second(rig):
        await rig.store.writer.submit(lambda conn: conn.execute("DELETE FROM tombstone").rowcount, now=True)  # old
        if rev is None:
            await rig.store.allowlist.apply_import([put(rig, rev=None)], at=T0, replace=False)
        else:
            await apply(rig, put(rig, rev=rev), seq=9)
        assert consent(rig) == "withdrawn"
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "consent_withdrawn"
        assert [m.where for m in await rig.store.faces.put([("p1", jpeg(1))], rig.digest)] == ["p1"]
        await apply(rig, put(rig, rev=3), seq=10)
        assert consent(rig) == "granted", "a grant of its own, newer than the withdrawal"

    run(first, tmp_path)
    run(second, tmp_path)


@pytest.mark.parametrize(("rev", "left"), [(None, "withdrawn"), (2, "withdrawn"), (3, "granted")])
def test_f3_another_face_under_the_same_id_needs_a_newer_grant_as_well(tmp_path, rev, left):
    async def body(rig):
        await apply(rig, put(rig, "p1", id="crd_1"))
        await apply(rig, put(rig, "p1", id="crd_1", consent=WITHDRAWN, rev=2), seq=2)
        new = put(rig, "p1-new", id="crd_1", rev=rev)
        if rev is None:
            await rig.store.allowlist.apply_import([new], at=T0, replace=False)
        else:
            await apply(rig, new, seq=3)
        assert consent(rig, "p1-new") == left
        await rig.store.allowlist.apply_import([put(rig, "p1", rev=None)], at=T0, replace=False)
        assert consent(rig, "p1") == "withdrawn", "the face that was withdrawn, without its id"

    run(body, tmp_path)


def test_f3_a_withdrawal_counts_although_its_row_says_nothing_new(tmp_path):
    async def body(rig):
        await apply(rig, put(rig, "p1", status=Status.SUSPENDED, rev=2), put(rig, "p2", status=Status.REVOKED, rev=2))
        await rig.store.faces.put([("p1", jpeg(1))], rig.digest)
        await apply(rig, put(rig, "p1", consent=WITHDRAWN, rev=2), seq=2)
        await rig.store.allowlist.apply_import([put(rig, "p2", consent=WITHDRAWN, rev=None)], at=T0, replace=False)
        assert [consent(rig, p) for p in ("p1", "p2")] == ["withdrawn", "withdrawn"]
        assert await sweep(rig) == 1
        await apply(rig, put(rig, "p1", rev=3), seq=3)
        await apply(rig, put(rig, "p1", consent=WITHDRAWN, rev=2), seq=4)
        assert consent(rig, "p1") == "granted", "an older one"

    run(body, tmp_path)


def test_f2_a_withdrawn_consent_is_refused_at_once_and_the_persons_card_still_works(tmp_path):
    async def body(rig):
        card = rig.credential("p1", Method.CARD)
        await apply(rig, put(rig), card)
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "granted"
        await apply(rig, put(rig, consent=WITHDRAWN, rev=2), seq=2)
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "consent_withdrawn"
        assert await rig.present("p1", method=Method.CARD) == "granted"
        await apply(rig, put(rig, consent=GRANTED, rev=3), seq=3)
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "granted"

    run(body, tmp_path)


def test_f2_control_without_the_rule_a_withdrawn_consent_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "_consent", lambda reading, facts: None)

    async def body(rig):
        await apply(rig, put(rig, consent=WITHDRAWN))
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "granted"

    run(body, tmp_path)


@pytest.mark.parametrize("said", [None, Consent.NONE])
def test_f1_a_face_without_consent_opens_nothing_and_every_other_credential_of_the_person_does(tmp_path, said):
    """Somebody else has put the person on a terminal, and the terminal recognises it."""

    async def body(rig):
        others = [rig.credential("p1", method, consent=said) for method in (Method.CARD, Method.QR, Method.PIN)]
        await apply(rig, put(rig, consent=said), *others)
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "consent_missing"
        for method in (Method.CARD, Method.QR, Method.PIN):
            assert await rig.present("p1", method=method) == "granted"
        mislabelled = CredentialPut(rig.digest(Method.FACE, "p2"), "per_p2", PersonKind.OWNER, Method.CARD, ("public",))
        await apply(rig, mislabelled, seq=2)
        assert await rig.present("p2", method=Method.FACE, score=0.95) == "consent_missing", "a face, called a card"
        await apply(rig, put(rig, rev=2), seq=3)
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "granted"

    run(body, tmp_path)


def test_f8_a_withdrawn_consent_in_the_row_of_a_card_says_nothing_about_the_card(tmp_path):
    async def body(rig):
        await apply(rig, rig.credential("p1", Method.CARD, consent=WITHDRAWN))
        assert await rig.present("p1", method=Method.CARD) == "granted"

    run(body, tmp_path)


def test_f1_control_without_the_rule_a_face_without_consent_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "_consent", lambda reading, facts: None)

    async def body(rig):
        await apply(rig, put(rig, consent=None))
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "granted"

    run(body, tmp_path)


def test_f3_control_without_the_order_of_revisions_an_older_grant_lifts_a_withdrawal(tmp_path, monkeypatch):
    monkeypatch.setattr(Withdrawals, "judge", lambda self, put, *_: CONSENTS.index(put.consent))

    async def body(rig):
        await apply(rig, put(rig, consent=WITHDRAWN, rev=2))
        await rig.store.allowlist.apply_import([put(rig, consent=GRANTED, rev=None)], at=T0, replace=False)
        assert consent(rig) == "granted"

    run(body, tmp_path)


def test_f2_a_withdrawal_outlives_a_restart(tmp_path):
    async def first(rig):
        await apply(rig, put(rig))
        await apply(rig, put(rig, consent=WITHDRAWN, rev=2), seq=2)

    async def second(rig):
        assert await rig.present("p1", method=Method.FACE, score=0.95) == "consent_withdrawn"

    run(first, tmp_path)
    run(second, tmp_path)
