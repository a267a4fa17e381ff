"""A list moves to another box with its uses, revocations and lockdown; no pass takes another's id."""

import json
from dataclasses import replace
from pathlib import Path

from lintel.edge.model import Direction, Method, PersonKind, Status
from lintel.edge.persons import Consent
from lintel.edge.store import CountedUse, CredentialPut, Del, PassPut, PassUse, StepUse, Store, Type
from lintel.edge.store.export import export_document

from .helpers import DIGEST, card, digest, event, run


def _face(rev: int | None = None) -> CredentialPut:
    return CredentialPut(digest(4), "per_4", PersonKind.OWNER, Method.FACE, ("a",), rev=rev, consent=Consent.GRANTED)


def test_f3_a_withdrawn_consent_moves_with_the_list_although_its_row_is_gone(tmp_path: Path) -> None:
    documents: list[str] = []

    async def old(store: Store) -> None:
        withdrawn = replace(_face(3), consent=Consent.WITHDRAWN)
        await store.allowlist.apply_checkpoint([withdrawn], epoch=1, seq=1, synced_at=1.0)
        await store.allowlist.apply_import([], at=2.0, replace=True)
        documents.append(json.dumps(export_document(store.database.reader)))
        assert json.loads(documents[0])["withdrawn"] == [{"face": digest(4)[:8].hex(), "rev": 3}]

    async def new(store: Store) -> None:
        for _ in range(2):
            answer = await store.import_rows({"text": documents[0], "form": "json"}, DIGEST, None, at=2.0)
            assert answer["mistakes"] == []
        assert json.loads(json.dumps(export_document(store.database.reader))) == json.loads(documents[0])
        await store.allowlist.apply_import([_face()], at=3.0, replace=False)
        found = store.allowlist.find(digest(4))
        assert found is not None
        assert found.consent is Consent.WITHDRAWN
        await store.allowlist.apply_checkpoint([_face(9)], epoch=1, seq=2, synced_at=1.0)
        answer = await store.import_rows({"text": documents[0], "form": "json"}, DIGEST, None, at=4.0)
        found = store.allowlist.find(digest(4))
        assert found is not None
        assert found.consent is Consent.GRANTED, "what is moved is older than this grant"
        wrong = json.dumps({"withdrawn": [{"face": "12", "rev": 3}, {"rev": 3}, {"face": "00" * 8, "rev": -1}]})
        answer = await store.import_rows({"text": wrong, "form": "json"}, DIGEST, None, at=5.0)
        assert [m[0] for m in answer["mistakes"]] == [
            "withdrawn[0], face", "withdrawn[1], face", "withdrawn[2], rev",
        ]  # fmt: skip

    for name, body in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, body)


def _status(store: Store, number: int) -> Status | None:
    row = store.allowlist.visitor_pass(number)
    return row.status if row is not None else None


def test_what_was_used_revoked_and_locked_stays_so_on_another_box(tmp_path: Path) -> None:
    documents: list[str] = []
    out = (event(1), event(2))

    async def old(store: Store) -> None:
        lists = store.allowlist
        puts = [
            card(1, use_limit=1), card(2, use_limit=1), card(3, id="crd_3", rev=4),
            PassPut(6, ("a",), secret=bytes(32), use_limit=1), PassPut(8, rev=2, id="pass-x"),
        ]  # fmt: skip
        await lists.apply_checkpoint(puts, epoch=1, seq=1, synced_at=1.0)
        for use in (CountedUse(digest(1)), CountedUse(digest(2)), PassUse(5, 1), StepUse(6, 99, Direction.IN, 1)):
            assert await lists.consume(use, *out)
        gone = [
            Del(Type.CREDENTIAL, digest(2).hex(), 9), Del(Type.CREDENTIAL, "crd_3", 9, "revoked"),
            Del(Type.VISITOR_PASS, "vp_7", 3, "revoked"), Del(Type.VISITOR_PASS, "pass-x", 3, "revoked"),
        ]  # fmt: skip
        await lists.apply_checkpoint(gone, epoch=1, seq=2, synced_at=1.0)
        await lists.set_lockdown({"north"}, on=True)
        documents.append(json.dumps(export_document(store.database.reader)))

    async def new(store: Store) -> None:
        lists = store.allowlist
        text, form = documents[-1], {"form": "json", "replace": True}
        for _ in range(2):
            answer = await store.import_rows({"text": text, **form}, DIGEST, None, at=2.0)
            assert answer["mistakes"] == []
        assert lists.site().lockdown == frozenset({"north"})
        await lists.apply_import([card(2, use_limit=1), card(3)], at=3.0, replace=False)
        for use in (CountedUse(digest(1)), CountedUse(digest(2)), PassUse(5, 1), StepUse(6, 99, Direction.IN, 1)):
            assert not await lists.consume(use, *out), use
        assert [_status(store, n) for n in (5, 7, 8)] == [Status.ACTIVE, Status.REVOKED, Status.REVOKED]
        assert lists.find(digest(3)) is None, "revoked, and no list without a revision lifts it"
        assert await lists.consume(PassUse(9, 1), *out), "the control: what was not used is good"
        documents.append(json.dumps(export_document(store.database.reader)))

    for name, body in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, body)
    first, second = map(json.loads, documents)
    assert first["uses"] == {"vp_5": 1, digest(2)[:8].hex(): 1}
    assert second["uses"] == {"vp_5": 1, "vp_9": 1}, "the card that came back carries its own"
    assert first["lockdown"] == second["lockdown"] == ["north"]


def test_a_deletion_in_a_file_lifts_no_revocation(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        lists = store.allowlist
        await lists.apply_checkpoint(
            [card(1, rev=3, status=Status.REVOKED), PassPut(7, rev=3, status=Status.REVOKED)],
            epoch=1,
            seq=1,
            synced_at=1,
        )
        names = [("credential", digest(1).hex()), ("visitor_pass", "vp_7")]
        text = json.dumps({"deleted": [{"type": kind, "id": name, "rev": 9} for kind, name in names]})
        assert (await store.import_rows({"text": text, "form": "json"}, DIGEST, None))["deleted"] == 2
        await lists.apply_import([card(1), PassPut(7, ("a",))], at=2.0, replace=False)
        assert lists.find(digest(1)) is None
        assert _status(store, 7) is Status.REVOKED

    run(tmp_path, body)


def test_a_pass_does_not_take_anothers_id(tmp_path: Path) -> None:
    """The row of the revoked pass was deleted by the one that came with its id, and the paper opened again."""

    async def body(store: Store) -> None:
        lists = store.allowlist
        puts = [PassPut(7, rev=3, id="pass-x", status=Status.REVOKED), PassPut(8, rev=1)]
        await lists.apply_checkpoint(puts, epoch=1, seq=1, synced_at=1.0)
        done = await lists.apply_checkpoint([PassPut(9, ("a",), rev=9, id="pass-x")], epoch=1, seq=2, synced_at=1.0)
        assert done.errors == (("pass-x", "its id belongs to pass 7; give pass 9 another one"),)
        done = await lists.apply_import([PassPut(9, ("a",), id="vp_8")], at=1.0, replace=False)
        assert [name for name, _ in done.errors] == ["vp_8"]
        assert [_status(store, n) for n in (7, 8, 9)] == [Status.REVOKED, Status.ACTIVE, None]
        answer = await store.import_rows(
            {"text": '{"passes": [{"pass_id": 9, "id": "pass-x"}]}', "form": "json"}, DIGEST, None
        )
        assert answer["mistakes"] == [["pass-x", "its id belongs to pass 7; give pass 9 another one"]]
        await lists.apply_checkpoint([PassPut(7, ("a",), rev=4, id="pass-y")], epoch=1, seq=3, synced_at=1.0)
        row = lists.visitor_pass(7)
        assert row is not None
        assert (row.id, row.status) == ("pass-y", Status.ACTIVE), "a pass may get another id of its own"

    run(tmp_path, body)
