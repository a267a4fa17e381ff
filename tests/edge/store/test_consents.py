"""Consent: a face without it opens nothing, and a withdrawal is lifted only by a grant that is newer."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lintel.edge import policy
from lintel.edge.model import Method, PersonKind, Status
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Del, Type, open_database
from lintel.edge.store.apply import Applier
from lintel.edge.store.changes import CONSENTS, Withdrawn
from lintel.edge.store.consents import Withdrawals
from lintel.edge.store.export import export_document
from tests.edge.rig import T0, run
from tests.edge.roster.rig import jpeg
from tests.edge.store.helpers import KEY, digest
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


def key_of(rig, person):
    return int.from_bytes(rig.digest(Method.FACE, person)[:8], "big", signed=True)


async def load(rig, *changes):
    """A file, such as an export of another box."""
    await rig.store.allowlist.apply_import(list(changes), at=T0, replace=False)


@pytest.mark.parametrize(("rev", "left"), [(3, "withdrawn"), (5, "withdrawn"), (2, "granted")])
def test_f3_only_a_newer_grant_stands_against_a_withdrawal_not_a_newer_row(tmp_path, rev, left):
    """Granted at 3; what came at 7 says nothing about the consent."""

    async def body(rig):
        await apply(rig, put(rig, rev=3))
        await apply(rig, put(rig, rev=7, consent=None), seq=2)
        await rig.store.faces.put([("p1", jpeg(1))], rig.digest)
        await apply(rig, put(rig, rev=rev, consent=WITHDRAWN), seq=3)
        assert consent(rig) == left
        assert await sweep(rig) == (left == "withdrawn")

    run(body, tmp_path)


def test_f3_a_row_that_only_files_without_revisions_made_newer_stands_against_no_withdrawal(tmp_path):
    async def body(rig):
        for _ in range(4):
            await load(rig, put(rig, rev=None))
        await load(rig, Withdrawn(key_of(rig, "p1"), 2))
        assert consent(rig) == "withdrawn"

    run(body, tmp_path)


def test_f3_a_list_that_moves_makes_no_grant_newer(tmp_path):
    """Neither its own export, read back, nor that of another box."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    documents, keys = [], []

    async def old(rig):
        keys.extend(key_of(rig, p) for p in ("p1", "p2"))  # a box with another key has other digests for these values
        await apply(rig, put(rig, "p1", rev=3), put(rig, "p2", rev=3))
        await apply(rig, put(rig, "p1", rev=7, consent=None), put(rig, "p2", rev=7), seq=2)
        documents.append(json.dumps(export_document(rig.store.database.reader)))
        await new(rig)

    async def new(rig):
        for _ in range(2):
            answer = await rig.store.import_rows({"text": documents[0], "form": "json"}, rig.digest, None)
            assert answer["mistakes"] == []
        assert json.loads(json.dumps(export_document(rig.store.database.reader))) == json.loads(documents[0])
        await load(rig, *(Withdrawn(key, 5) for key in keys))
        rows = rig.store.database.reader.execute("SELECT person, consent FROM credential").fetchall()
        assert {person: CONSENTS[word] for person, word in rows} == {"per_p1": WITHDRAWN, "per_p2": GRANTED}

    run(old, tmp_path / "old")
    run(new, tmp_path / "new")


def test_f3_a_withdrawal_known_here_is_not_lifted_by_a_list_whose_grant_is_older_than_its_rows(tmp_path):
    async def body(rig):
        await load(rig, Withdrawn(key_of(rig, "p1"), 5))
        await load(rig, put(rig, rev=7, consent_rev=3))
        assert consent(rig) == "withdrawn"
        await load(rig, put(rig, rev=8, consent_rev=6))
        assert consent(rig) == "granted"

    run(body, tmp_path)


@pytest.mark.parametrize("row", [True, False])
@pytest.mark.parametrize(("rev", "left"), [(5, "withdrawn"), (3, "withdrawn"), (2, "granted")])
def test_f3_a_withdrawal_reaches_the_face_that_stands_under_its_id_now(tmp_path, rev, left, row):
    async def body(rig):
        await apply(rig, put(rig, "new", id="crd_1", rev=3))
        await rig.store.faces.put([("new", jpeg(1))], rig.digest)
        await apply(rig, put(rig, "new", id="crd_1", rev=7, consent=None), seq=2)
        if row:
            await apply(rig, put(rig, "old", id="crd_1", rev=rev, consent=WITHDRAWN), seq=3)
        else:
            await load(rig, Withdrawn(key_of(rig, "old"), rev, "crd_1"))
        assert consent(rig, "new") == left
        assert await sweep(rig) == (left == "withdrawn")
        await load(rig, put(rig, "new", rev=None))
        assert consent(rig, "new") == left, "and it stays so without the id"
        await load(rig, put(rig, "old", rev=None))
        assert consent(rig, "old") == "withdrawn"

    run(body, tmp_path)


def test_f3_a_face_that_comes_under_another_id_leaves_the_withdrawal_with_the_first(tmp_path):
    async def body(rig):
        await apply(rig, put(rig, "p1", id="crd_x", rev=3))
        await apply(rig, put(rig, "p1", id="crd_x", rev=5, consent=WITHDRAWN), seq=2)
        await apply(rig, put(rig, "p1", id="crd_y", rev=6, consent=None), seq=3)
        await apply(rig, put(rig, "p1-new", id="crd_x", rev=4), seq=4)
        assert [consent(rig, p) for p in ("p1", "p1-new")] == ["withdrawn", "withdrawn"]
        await apply(rig, put(rig, "p1", id="crd_y", rev=8), seq=5)
        await apply(rig, put(rig, "p1-new", id="crd_x", rev=5), seq=6)
        assert [consent(rig, p) for p in ("p1", "p1-new")] == ["granted", "withdrawn"], "a grant lifts what it names"
        document = export_document(rig.store.database.reader)
        assert document["withdrawn"] == [{"face": f"{key_of(rig, 'p1') % (1 << 64):016x}", "rev": 5, "id": "crd_x"}]
        await apply(rig, put(rig, "p1-new", id="crd_x", rev=6), seq=7)
        assert consent(rig, "p1-new") == "granted"
        assert export_document(rig.store.database.reader)["withdrawn"] == []

    run(body, tmp_path)


def _face(person: str, name: str, said: Consent | None, rev: int) -> CredentialPut:
    return CredentialPut(digest(person), person, PersonKind.OWNER, Method.FACE, ("a",), id=name, consent=said, rev=rev)


_people, _ids, _revs = st.sampled_from(("A", "B")), st.sampled_from(("X", "Y")), st.integers(1, 6)
_said = st.builds(_face, _people, _ids, st.sampled_from((GRANTED, GRANTED, None, WITHDRAWN)), _revs)
_taken = st.builds(
    lambda p, i, r: Withdrawn(int.from_bytes(digest(p)[:8], "big", signed=True), r, i), _people, _ids, _revs
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.one_of(_said, _said, _taken), min_size=5, max_size=5))
def test_f3_in_every_order_of_five_changes_who_is_granted_was_granted_after_every_withdrawal(tmp_path, changes):
    """Of the face itself, and under the id that it has now."""
    conn = (base := open_database(tmp_path / "p.db", KEY, check=False)).connect()
    puts = [c for c in changes if isinstance(c, CredentialPut)]
    grants = [(c.digest, c.rev) for c in puts if c.consent is GRANTED]
    taken = [(int.from_bytes(c.digest[:8], "big", signed=True), c.id, c.rev) for c in puts if c.consent is WITHDRAWN]
    taken += [(c.key, c.id, c.rev) for c in changes if isinstance(c, Withdrawn)]
    try:
        for order in itertools.permutations(changes):
            conn.execute("BEGIN")
            for change in order:
                Applier(conn, 1.0).apply([change], full=False)
            rows = conn.execute("SELECT key, tail, id FROM credential WHERE consent = 1").fetchall()
            conn.execute("ROLLBACK")
            for key, tail, name in rows:
                last = max(rev for d, rev in grants if d == key.to_bytes(8, "big", signed=True) + tail)
                assert all(rev < last for k, i, rev in taken if key == k or name == i), order
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        conn.close()
        base.close()
