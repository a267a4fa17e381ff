"""`lintel fire reset`: the operator's word that a fire is over."""

from typing import Annotated, Any

import typer

from lintel.edge.cli.options import DEFAULT_STATE, Json, State, print_json
from lintel.edge.text import tr

app = typer.Typer(
    help=tr("Doors that a fire input has released.", "消防输入释放的门。") + "\n\n  lintel fire reset",
    no_args_is_help=True,
)


@app.callback()
def fire() -> None:
    """Keep `reset` a word of its own, also while it is the only one."""


@app.command(
    help=tr(
        "Let released doors lock again; their fire input must be inactive.",
        "让已释放的门重新上锁;其消防输入必须已复位。",
    )
    + "\n\n  lintel fire reset --state DIR"
)
def reset(
    unseen: Annotated[
        bool,
        typer.Option(
            help=tr(
                "Also where the input's line is down: I have seen that the panel is quiet.",
                "输入线路中断时也复位:我已确认消防主机无报警。",
            )
        ),
    ] = False,
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Exit 1 when a door stays released."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    answer: dict[str, Any] = call(state, "fire.reset", {"unseen": unseen})
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    raise typer.Exit(1 if answer["active"] or answer["unknown"] else 0)


def _print(answer: dict[str, Any]) -> None:
    doors = ", ".join(answer["doors"])
    if not (doors or answer["active"] or answer["unknown"]):
        typer.echo(tr("no door is released", "没有被释放的门"))
        return
    typer.echo(tr("normal again: ", "已恢复正常:") + (doors or "-"))
    for door, device in answer["active"].items():
        typer.echo(tr(f"{door} stays released: {device} is active", f"{door} 保持释放:{device} 仍在报警"), err=True)
    for door, device in answer["unknown"].items():
        typer.echo(
            tr(
                f"{door} stays released: {device} is not heard; look at the panel, then add --unseen",
                f"{door} 保持释放:收不到 {device};请查看消防主机,然后加上 --unseen",
            ),
            err=True,
        )
    if not answer["durable"]:
        typer.echo(
            tr("but not stored yet: a restart would release them again", "但尚未写入磁盘:重启后会再次释放"), err=True
        )
