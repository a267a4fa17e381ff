"""Consent and photos of faces: kept only with a right, sealed one by one, gone with the person."""

import asyncio
import os
import threading

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Method, PersonKind, Status
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Del, Type
from lintel.edge.store.connection import sqlite
from lintel.edge.store.faces import Sealed
from tests.edge.rig import T0, Rig, run
from tests.edge.roster.rig import jpeg

CANARY = b"\xff\xd8\xff" + b"CANARY-face" * 50


def put(rig, person="p1", consent=Consent.GRANTED, **fields):
    fields = {"face": person, "mask": "Wang *", "rev": 1} | fields
    return CredentialPut(rig.digest(Method.FACE, person), f"per_{person}", PersonKind.OWNER, Method.FACE, ("public",),
                         consent=consent, **fields)  # fmt: skip


async def apply(rig, *changes, seq=1):
    await rig.store.allowlist.apply_checkpoint(changes, epoch=1, seq=seq, synced_at=rig.time.wall)


def consent(rig, person="p1"):
    key = int.from_bytes(rig.digest(Method.FACE, person)[:8], "big", signed=True)
    (word,) = rig.store.database.reader.execute("SELECT consent FROM credential WHERE key = ?", (key,)).fetchone()
    return ("none", "granted", "withdrawn")[word]


def faces(rig):
    return rig.store.database.reader.execute("SELECT key, name, photo, seal FROM face ORDER BY name").fetchall()


def files(rig):
    folder = rig.store.faces.folder
    return sorted(folder.iterdir()) if folder.is_dir() else []


async def sweep(rig):
    return await rig.store.roster.read(rig.store.faces.sweep)


def test_a_photo_is_sealed_and_stands_nowhere_in_clear(tmp_path):
    async def body(rig):
        await apply(rig, put(rig))
        assert await rig.store.faces.put([("p1", CANARY)], rig.digest) == []
        ((key, _, file, seal),) = faces(rig)
        assert rig.store.faces.opened(Sealed(key, file, seal)) == CANARY
        assert "seal" not in repr(Sealed(key, file, seal)), "no key in a log"
        (stored,) = files(rig)
        assert stored.stat().st_mode & 0o077 == 0

    run(body, tmp_path)
    raw = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"CANARY-face" not in raw
    assert b"p1" not in b"".join(p.name.encode() for p in tmp_path.rglob("*")), "a file's name says nothing of whom"


def test_control_a_photo_that_is_not_sealed_is_found(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "x").write_bytes(CANARY)
    assert b"CANARY-face" in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_f12_a_photo_that_was_moved_to_another_person_does_not_open(tmp_path):
    async def body(rig):
        await apply(rig, put(rig, "p1"), put(rig, "p2"))
        await rig.store.faces.put([("p1", jpeg(1)), ("p2", jpeg(2))], rig.digest)
        (k1, _, f1, s1), (k2, _, f2, s2) = faces(rig)
        opened = rig.store.faces.opened
        assert opened(Sealed(k1, f1, s1)) == jpeg(1)
        assert opened(Sealed(k1, f2, s1)) is None
        assert opened(Sealed(k1, f2, s2)) is None, "the row with its key moved: the person is bound in"
        assert opened(Sealed(k2, "gone", s2)) is None

    run(body, tmp_path)


@pytest.mark.parametrize("end", ["withdrawn", "revoked", "deleted", "erased", "replaced"])
def test_f6_a_photo_goes_with_the_consent_the_right_and_the_person(tmp_path, end):
    async def body(rig):
        await apply(rig, put(rig, "p1"), put(rig, "p2"))
        await rig.store.faces.put([("p1", jpeg(1)), ("p2", jpeg(2))], rig.digest)
        assert await sweep(rig) == 0
        if end == "withdrawn":
            await apply(rig, put(rig, consent=Consent.WITHDRAWN, rev=2), seq=2)
        elif end == "revoked":
            await apply(rig, put(rig, status=Status.REVOKED, rev=2), seq=2)
        elif end == "replaced":
            await rig.store.allowlist.apply_import([put(rig, "p2", rev=None)], at=T0, replace=True)
        else:
            await apply(rig, Del(Type.CREDENTIAL, rig.digest(Method.FACE, "p1").hex(), 2, end), seq=2)
        assert await sweep(rig) == 1
        assert len(files(rig)) == 1
        assert not {name: photo is not None for _, name, photo, _ in faces(rig)}.get("p1")
        kept = next(row for row in faces(rig) if row[1] == "p2")
        assert rig.store.faces.opened(Sealed(kept[0], kept[2], kept[3])) == jpeg(2)

    run(body, tmp_path)


def test_f1_no_photo_is_kept_without_consent_right_or_person(tmp_path):
    async def body(rig):
        await apply(
            rig, put(rig, "none", consent=None), put(rig, "no", consent=Consent.WITHDRAWN),
            rig.credential("card", Method.CARD), put(rig, "out", status=Status.REVOKED), put(rig, "ok"),
        )  # fmt: skip
        names = ["none", "no", "out", "nobody", "card", "bad name", "ok"]
        wrong = await rig.store.faces.put([(n, jpeg(1)) for n in names], rig.digest)
        assert [m.where for m in wrong] == names[:-1]
        assert [m.expected.partition("[")[2] for m in wrong][:3] == ["consent_missing]", "consent_missing]", "revoked]"]
        assert len(files(rig)) == 1
        wrong = await rig.store.faces.put([("ok", b"GIF89a"), ("ok", jpeg(1) + bytes(700_000))], rig.digest)
        assert [m.expected for m in wrong] == [
            "expected a JPEG photo [bad_format]", "expected a photo of at most 700 kB [too_large]",
        ]  # fmt: skip

    run(body, tmp_path)


def test_f1_the_database_takes_no_face_without_its_credential(tmp_path):
    async def body(rig):
        write = "INSERT INTO face VALUES (4711, 'x', '', NULL, NULL, NULL, 0)"
        with pytest.raises(sqlite.IntegrityError, match="FOREIGN KEY"):
            await rig.store.writer.submit(lambda conn: conn.execute(write), now=True)
        await apply(rig, put(rig))
        assert len(faces(rig)) == 1
        await rig.store.writer.submit(lambda conn: conn.execute("DELETE FROM credential").rowcount, now=True)
        assert faces(rig) == [], "and gone with it, whoever deletes that"

    run(body, tmp_path)


def test_a_photo_that_comes_while_the_consent_goes_is_not_kept(tmp_path, monkeypatch):
    async def body(rig):
        await apply(rig, put(rig))
        seal, sealing, withdrawn = rig.store.faces._seal, threading.Event(), threading.Event()

        def slow(*args):
            sealing.set()
            assert withdrawn.wait(10)
            return seal(*args)

        monkeypatch.setattr(rig.store.faces, "_seal", slow)
        coming = asyncio.create_task(rig.store.faces.put([("p1", jpeg(1))], rig.digest))
        assert await asyncio.to_thread(sealing.wait, 10), "it was still granted when the photo came"
        await apply(rig, put(rig, consent=Consent.WITHDRAWN, rev=2), seq=2)
        withdrawn.set()
        assert await coming == []
        assert [photo for _, _, photo, _ in faces(rig)] == [None]
        await sweep(rig)
        assert files(rig) == []

    run(body, tmp_path)


def test_a_new_photo_takes_the_old_ones_place(tmp_path):
    async def body(rig):
        await apply(rig, put(rig))
        for shade in (1, 2, 3):
            await rig.store.faces.put([("p1", jpeg(shade))], rig.digest)
        assert await sweep(rig) == 2
        ((key, _, file, seal),) = faces(rig)
        assert rig.store.faces.opened(Sealed(key, file, seal)) == jpeg(3)

    run(body, tmp_path)


def test_faces_are_in_a_snapshot_and_in_its_place_when_the_database_is_lost(tmp_path):
    async def first(rig):
        await apply(rig, put(rig))
        await rig.store.faces.put([("p1", jpeg(1))], rig.digest)
        rig.store.care.changed()
        await rig.store.tend()

    async def second(rig):
        ((key, name, file, seal),) = faces(rig)
        assert (name, rig.store.faces.opened(Sealed(key, file, seal))) == ("p1", jpeg(1))
        assert consent(rig) == "granted"

    run(first, tmp_path)
    with (tmp_path / "lintel.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    run(second, tmp_path)


def test_an_older_database_gets_the_new_tables(tmp_path):
    async def body(rig):
        await apply(rig, put(rig))

    run(body, tmp_path)

    # as it was before the third step
    async def back(rig):
        path, key = rig.store.database.path, rig.store.database.key
        await rig.store.close()
        from lintel.edge.store.connection import connect  # noqa: PLC0415  the store keeps it to itself

        conn = connect(path, key, uri_mode="mode=rw", cache_kib=256)
        conn.execute("DROP TABLE face")
        conn.execute("DROP TABLE roster")
        conn.execute("DROP TABLE withdrawal")
        conn.execute("DROP TABLE withdrawn_id")
        conn.execute("ALTER TABLE credential DROP COLUMN consent_rev")
        conn.execute("ALTER TABLE credential DROP COLUMN consent")
        conn.execute("PRAGMA user_version = 2")
        conn.close()
        raise StopHereError

    with pytest.raises(StopHereError):
        run(back, tmp_path)

    async def again(rig):
        assert consent(rig) == "none", "what nobody said is no consent"
        assert faces(rig) == [], "the value of a face that was imported before is not known"
        await apply(rig, put(rig, rev=2), seq=2)
        assert [name for _, name, _, _ in faces(rig)] == ["p1"]

    run(again, tmp_path)


class StopHereError(Exception):
    pass


def test_consent_stands_in_files_and_survives_export_and_import(tmp_path):
    async def body(rig):
        rows = "person,method,value,groups,consent\nper_1,face,p1,public,granted\nper_2,face,p2,public,withdrawn\n"
        rows += "per_3,face,p3,public,\n"
        answer = await rig.store.import_rows({"text": rows, "form": "csv"}, rig.digest, None)
        assert answer["mistakes"] == []
        assert [consent(rig, p) for p in ("p1", "p2", "p3")] == ["granted", "withdrawn", "none"]
        exported = await rig.store.roster.read(lambda conn: list(_export(conn)))
        assert {r["person"]: r["consent"] for r in exported} == {
            "per_1": "granted", "per_2": "withdrawn", "per_3": None,
        }  # fmt: skip
        wrong = rows.replace("granted", "maybe")
        answer = await rig.store.import_rows({"text": wrong, "form": "csv"}, rig.digest, None)
        assert answer["mistakes"] == [["line 2, consent", "expected one of none, granted, withdrawn"]]

    run(body, tmp_path)


def _export(conn):
    from lintel.edge.store.export import export_rows  # noqa: PLC0415  loads nothing else

    return export_rows(conn)


def test_an_error_of_the_database_is_an_error_of_the_store(tmp_path):
    async def body(rig):
        def broken(_conn):
            raise sqlite.OperationalError("as if the disk were gone")

        with pytest.raises(StoreError, match="person lists can not be read"):
            await rig.store.roster.read(broken)
        assert await rig.store.roster.entries("x") == [], "and the next one begins anew"

    run(body, tmp_path)


__all__ = ["Rig"]
