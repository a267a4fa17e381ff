"""`lintel allowlist import`, `export` and `show`: who may pass, as files."""

import asyncio
import base64
import csv
import io
import json
import time
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any

import typer

from lintel.edge.cli.options import DEFAULT_STATE, Json, State, print_json
from lintel.edge.errors import ConfigError, Mistake, StoreError
from lintel.edge.text import told, tr

PHOTOS_AT_ONCE = 1 << 20
"""Bytes of photos in one request: the gateway's doors wait behind no more."""

app = typer.Typer(
    no_args_is_help=True,
    help=tr("Who may pass, as files.", "导入、导出和查看通行名单。") + "\n\n  lintel allowlist show",
)


@app.command(
    "import",
    help=tr(
        "Import a CSV or JSON file. Nothing is applied while a row is wrong.",
        "导入 CSV 或 JSON 文件。只要有一行错误,就不会应用任何内容。",
    )
    + "\n\n  lintel allowlist import residents.csv --state /var/lib/lintel",
)
def import_(  # noqa: PLR0917  typer gives every option by its name
    file: Annotated[Path, typer.Argument(help=tr("CSV or JSON file.", "CSV 或 JSON 文件。"))],
    state: State = DEFAULT_STATE,
    partial: Annotated[
        bool, typer.Option(help=tr("Apply the right rows and leave out the wrong ones.", "应用正确的行,跳过错误的行。"))
    ] = False,
    replace: Annotated[
        bool, typer.Option(help=tr("The file is the whole list: delete the rest.", "以文件为完整名单,删除其余条目。"))
    ] = False,
    recovered: Annotated[
        bool,
        typer.Option(
            help=tr(
                "With --replace, after the database was lost: this file is the whole list. Uses, revocations and"
                " lockdown since it was made are not known.",
                "数据库丢失后与 --replace 同用:本文件就是完整名单,其后的使用次数、吊销和封控均无从得知。",
            )
        ),
    ] = False,
    timezone: Annotated[
        str,
        typer.Option(help=tr("Where dates begin; a running gateway knows.", "日期所在时区,运行中的网关自知。")),
    ] = "",
    photos: Annotated[
        Path | None,
        typer.Option(
            help=tr("Folder of JPEG photos, each named by its face's value.", "照片文件夹(JPEG,以人脸凭证的值命名)。")
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Exit 1 when a row or a photo was wrong."""
    from lintel.edge.schedules import zone  # noqa: PLC0415  loads zoneinfo
    from lintel.edge.store.transfer import read_text  # noqa: PLC0415  loads the store

    params: dict[str, Any] = {
        "text": read_text(file),
        "form": "json" if file.suffix.lower() == ".json" else "csv",
        "partial": partial,
        "replace": replace,
        "recovered": recovered,
    }
    try:
        where = zone(timezone) if timezone else None
    except ValueError as error:
        raise ConfigError("--timezone", [Mistake("timezone", str(error))]) from None
    answer = _send(state, params, where)
    if photos is not None and not (answer["mistakes"] and not partial):
        answer["photos"], wrong = _send_photos(state, photos)
        answer["mistakes"] += wrong
    if as_json:
        print_json(answer)
    else:
        for where, expected in answer["mistakes"]:
            typer.echo(f"{file}: {where}: {told(expected)}", err=True)
        counts = f"{answer['put']}, {answer['deleted']}, {answer['kept']}"
        typer.echo(
            tr(
                f"stored, deleted, kept as newer: {counts}; wrong: {len(answer['mistakes'])}",
                f"已写入、已删除、保留较新版本:{counts};错误:{len(answer['mistakes'])}",
            )
        )
    raise typer.Exit(1 if answer["mistakes"] else 0)


def _send(state: Path, params: dict[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    """Through the running daemon, which owns the store; without one, the store is opened here."""
    from lintel.edge.store import state_lock  # noqa: PLC0415  loads the store

    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with state_lock(state):
            return asyncio.run(_apply(state, params, zone))
    except StoreError as error:
        if error.word != "state_locked":
            raise
    from lintel.edge.control import call  # noqa: PLC0415  needs a daemon

    answer: dict[str, Any] = call(state, "allowlist.import", params)
    return answer


def _send_photos(state: Path, folder: Path) -> tuple[int, list[list[str]]]:
    """A few at a time, as `_send`; how many there were, and what was wrong."""
    from lintel.edge.store.faces import LARGEST_PHOTO  # noqa: PLC0415  loads the store

    try:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg") and p.is_file())
    except OSError as error:
        raise ConfigError(str(folder), [Mistake("--photos", f"expected a readable file: {error.strerror}")]) from None
    mistakes: list[list[str]] = []
    batch: list[tuple[str, bytes]] = []
    size = 0
    for file in files:
        try:
            with file.open("rb") as handle:
                photo = handle.read(LARGEST_PHOTO + 1)
        except OSError as error:
            mistakes.append([file.name, f"expected a readable file: {error.strerror}"])
            continue
        if batch and size + len(photo) > PHOTOS_AT_ONCE:
            mistakes += _put_photos(state, batch)
            batch, size = [], 0
        batch.append((file.stem, photo))
        size += len(photo)
    if batch:
        mistakes += _put_photos(state, batch)
    return len(files), mistakes


def _put_photos(state: Path, photos: list[tuple[str, bytes]]) -> list[list[str]]:
    from lintel.edge.store import state_lock  # noqa: PLC0415  loads the store

    try:
        with state_lock(state):
            return asyncio.run(_keep_photos(state, photos))
    except StoreError as error:
        if error.word != "state_locked":
            raise
    from lintel.edge.control import call  # noqa: PLC0415  needs a daemon

    sent = [[name, base64.b64encode(photo).decode()] for name, photo in photos]
    wrong: list[list[str]] = call(state, "allowlist.photos", {"photos": sent})["mistakes"]
    return wrong


async def _keep_photos(state: Path, photos: list[tuple[str, bytes]]) -> list[list[str]]:
    from lintel.edge.digests import Digester  # noqa: PLC0415  without a daemon
    from lintel.edge.store import Store, derive, state_key  # noqa: PLC0415  loads the store

    key = state_key(state)
    store = Store.open(state, key)
    try:
        return [[m.where, m.expected] for m in await store.faces.put(photos, Digester(derive(key, "digest")))]
    finally:
        await store.close()


async def _apply(state: Path, params: dict[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    from lintel.edge.digests import Digester  # noqa: PLC0415  without a daemon
    from lintel.edge.ids import new_id  # noqa: PLC0415  without a daemon
    from lintel.edge.model import ClockState, Event, Stream  # noqa: PLC0415  without a daemon
    from lintel.edge.store import Store, derive, import_audit, state_key  # noqa: PLC0415  loads the store

    key = state_key(state)
    store = Store.open(state, key)
    try:
        answer = await store.import_rows(params, Digester(derive(key, "digest")), zone)
        result, detail = import_audit(params, answer)
        now = int(time.time() * 1000)  # of a clock that nobody vouches for here
        row = Event(
            new_id(), Stream.AUDIT, "allowlist.import", now, time.monotonic(), ClockState.UNKNOWN,
            result=result, detail=detail,
        )  # fmt: skip
        await store.journal.append(row, now=True)
        return answer
    finally:
        await store.close()


@app.command(
    help=tr("Export the list with digests, never with card numbers or codes.", "导出名单;只含摘要,不含卡号或密码。")
    + "\n\n  lintel allowlist export list.json --state /var/lib/lintel"
)
def export(
    file: Annotated[Path, typer.Argument(help=tr("CSV or JSON file to write.", "要写入的 CSV 或 JSON 文件。"))],
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """The file is written whole or not at all."""
    from lintel.edge.store import atomic_write  # noqa: PLC0415  loads the store
    from lintel.edge.store.export import export_document, export_rows  # noqa: PLC0415  loads the store
    from lintel.edge.store.reading import reading  # noqa: PLC0415  loads the store
    from lintel.edge.store.transfer import COLUMNS  # noqa: PLC0415  loads the store

    with reading(state) as database:
        if file.suffix.lower() == ".json":
            document = export_document(database.reader)
            rows = len(document["credentials"])  # type: ignore[arg-type]
            text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        else:
            out = io.StringIO()
            writer = csv.DictWriter(out, [c for c in COLUMNS if c != "value"])
            writer.writeheader()
            rows = 0
            for rows, row in enumerate(export_rows(database.reader), 1):  # noqa: B007  the last number is the count
                writer.writerow(row)
            text = out.getvalue()
    try:
        atomic_write(file, text.encode())
    except OSError as error:
        raise ConfigError(str(file), []) from error
    if as_json:
        print_json({"file": str(file), "credentials": rows})
    else:
        typer.echo(tr(f"{rows} credentials written to {file}", f"已将 {rows} 条凭证写入 {file}"))


@app.command(
    help=tr("What the list holds, or what one person has.", "查看名单概况,或某个人的凭证。")
    + "\n\n  lintel allowlist show --person per_01 --state /var/lib/lintel"
)
def show(
    state: State = DEFAULT_STATE,
    person: Annotated[str, typer.Option(help=tr("Id of a person.", "人员编号。"))] = "",
    as_json: Json = False,
) -> None:
    """Reads beside a running gateway."""
    from lintel.edge.store.allowlist import read_site  # noqa: PLC0415  loads the store
    from lintel.edge.store.export import export_rows  # noqa: PLC0415  loads the store
    from lintel.edge.store.reading import reading  # noqa: PLC0415  loads the store

    with reading(state) as database:
        conn = database.reader
        if person:
            rows = [{k: v for k, v in r.items() if v is not None} for r in export_rows(conn) if r["person"] == person]
            for row in rows:
                if as_json:
                    print_json(row)
                else:
                    typer.echo("  ".join(f"{k}={v}" for k, v in row.items()))
            raise typer.Exit(0 if rows else 1)
        site = read_site(conn)
        facts: dict[str, object] = {
            "credentials": conn.execute("SELECT count(*) FROM credential").fetchone()[0],
            "persons": conn.execute("SELECT count(DISTINCT person) FROM credential").fetchone()[0],
            "passes": conn.execute("SELECT count(*) FROM visitor_pass").fetchone()[0],
            "schedules": sorted(site.schedules),
            "holidays": len(site.holidays),
            "blocks": len(site.blocks),
            "lockdown": sorted(site.lockdown),
            "age_s": None if site.synced_at is None else round(time.time() - site.synced_at),
            "fault": site.fault,
        }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {value}")
