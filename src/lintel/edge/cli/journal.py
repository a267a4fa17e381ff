"""`lintel journal verify`, `export` and `tail`: read-only, also while the gateway runs."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lintel.edge.cli.options import DEFAULT_STATE, Json, State, print_json
from lintel.edge.model import Stream
from lintel.edge.text import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr("The journal of every decision.", "每次通行判断的日志。") + "\n\n  lintel journal tail -n 20",
)

STREAM = typer.Option("--stream", help=tr("Stream to read.", "要读取的日志流。"))


@app.command(
    help=tr(
        "Find edited, removed, inserted, reordered, cut or rolled-back events.",
        "检查日志是否被改动、删除、插入、调换、截断或回滚。",
    )
    + "\n\n  lintel journal verify --state /var/lib/lintel"
)
def verify(state: State = DEFAULT_STATE, as_json: Json = False) -> None:
    """Exit 1 with the word audit_broken and where."""
    from lintel.edge.store import verify as checking  # noqa: PLC0415  --help must not load the store
    from lintel.edge.store.reading import reading  # noqa: PLC0415

    with reading(state) as database:
        report = checking.verify(database)
    if as_json:
        print_json({"ok": report.ok, "word": "" if report.ok else "audit_broken", **asdict(report)})
    elif report.ok:
        typer.echo(tr(f"{report.rows} events, none touched", f"共 {report.rows} 条,未被改动"))
    else:
        for found in report.breaks:
            typer.echo(f"audit_broken: {found.stream} epoch {found.epoch} seq {found.seq}: {found.what}", err=True)
    raise typer.Exit(0 if report.ok else 1)


@app.command(
    help=tr("Print events as NDJSON, oldest first.", "按时间顺序以 NDJSON 输出日志。")
    + "\n\n  lintel journal export --stream access --since 1000 > access.ndjson"
)
def export(
    state: State = DEFAULT_STATE,
    stream: Annotated[Stream, STREAM] = Stream.ACCESS,
    since: Annotated[int, typer.Option(help=tr("After this number.", "从该序号之后开始。"))] = 0,
    epoch: Annotated[int, typer.Option(help=tr("Epoch of --since.", "--since 所属的纪元。"))] = 0,
    as_json: Json = True,  # noqa: ARG001  it is always JSON; the option is there on every command
) -> None:
    """One event a line with its place and hash."""
    from lintel.edge.store.reading import reading  # noqa: PLC0415
    from lintel.edge.store.rows import read_rows  # noqa: PLC0415

    with reading(state) as database:
        for row in read_rows(database.reader, stream, (epoch or (1 if since else 0), since)):
            place = {"epoch": row.epoch, "seq": row.seq, "hash": row.hash.hex()}
            print_json({**json.loads(row.body), **place})


@app.command(
    help=tr("Print the newest events.", "输出最新的日志。") + "\n\n  lintel journal tail -n 20 --state /var/lib/lintel"
)
def tail(
    state: State = DEFAULT_STATE,
    stream: Annotated[Stream, STREAM] = Stream.ACCESS,
    lines: Annotated[int, typer.Option("-n", min=1, max=10000, help=tr("How many.", "条数。"))] = 10,
    as_json: Json = False,
) -> None:
    """Oldest of them first."""
    from datetime import datetime  # noqa: PLC0415

    from lintel.edge.store.reading import reading  # noqa: PLC0415
    from lintel.edge.store.rows import newest_rows  # noqa: PLC0415

    with reading(state) as database:
        rows = newest_rows(database.reader, stream, lines)
    for row in rows:
        if as_json:
            typer.echo(row.body.decode())
            continue
        event = row.event
        when = datetime.fromtimestamp(event.ts / 1000).astimezone().isoformat(" ", "milliseconds")
        words = (event.type, event.door or event.device, event.result, event.reason, event.person, event.detail)
        typer.echo(f"{row.seq}  {when}  {'  '.join(w for w in words if w)}")
