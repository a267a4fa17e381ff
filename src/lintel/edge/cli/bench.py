"""`lintel bench`: figures, each with its floor from the same run."""

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from lintel.edge.cli.options import Json, print_json
from lintel.edge.text import tr

app = typer.Typer(no_args_is_help=True, help=tr("Measure speed.", "测量速度。") + "\n\n  lintel bench decide --json")

CREDENTIALS = typer.Option(min=100, help=tr("Credentials in the store.", "白名单条数。"))


def _show(figures: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        print(f"{name:<24} {value}")


@app.command(
    help=tr("Look-up in the encrypted store, and policy.", "加密库查询加策略判定。")
    + "\n\n  lintel bench decide --json"
)
def decide(credentials: Annotated[int, CREDENTIALS] = 250_000, as_json: Json = False) -> None:
    """Microseconds per decision."""
    from lintel.bench.decide import measure  # noqa: PLC0415

    _show(measure(credentials), as_json=as_json)


@app.command(
    help=tr(
        "From a reading published on mosquitto to the open order received, with the bare broker as floor.",
        "从读数发布到收到开门指令,以裸消息代理为基准。",
    )
    + "\n\n  lintel bench entry --json"
)
def entry(
    credentials: Annotated[int, CREDENTIALS] = 250_000,
    seconds: Annotated[float, typer.Option(min=1, help=tr("Length of each phase.", "每阶段秒数。"))] = 15.0,
    as_json: Json = False,
) -> None:
    """Milliseconds per entry, and what the idle gateway costs."""
    from lintel.bench.entry import measure  # noqa: PLC0415

    _show(measure(credentials, seconds, say=lambda text: print(text, file=sys.stderr)), as_json=as_json)


@app.command(
    help=tr(
        "QR codes on generated pictures: the share that is read at the first look, and when the code is held.",
        "生成图片上的二维码:首次查看与持续出示时的识读比例。",
    )
    + "\n\n  lintel bench camera --json"
)
def camera(
    count: Annotated[int, typer.Option(min=1, help=tr("Pictures of each kind.", "每种图片的数量。"))] = 20,
    as_json: Json = False,
) -> None:
    """Shares by distortion and size of a module, and milliseconds per look."""
    from lintel.bench.camera import measure  # noqa: PLC0415

    _show(measure(count, say=lambda text: print(text, file=sys.stderr)), as_json=as_json)


@app.command(
    help=tr(
        "OSDP, Bluetooth, and all lines at once in one daemon; about 15 minutes, of which a reader is away ten.",
        "OSDP、蓝牙,以及一个网关进程中同时运行的各类线路;约 15 分钟,其中读卡器离线 10 分钟。",
    )
    + "\n\n  lintel bench lines --json"
)
def lines(
    seconds: Annotated[float, typer.Option(min=5, help=tr("Length of the mixed load.", "混合负载的秒数。"))] = 60.0,
    outages: Annotated[
        str, typer.Option(help=tr("Seconds that OSDP readers are away.", "OSDP 读卡器离线的秒数。"))
    ] = "3,10,60,600",
    as_json: Json = False,
) -> None:
    """Milliseconds and seconds of every line."""
    from lintel.bench.lines import measure  # noqa: PLC0415

    try:
        away = [float(word) for word in outages.split(",")]
    except ValueError:
        raise typer.BadParameter(tr("seconds, such as 3,10,60", "秒数,如 3,10,60")) from None
    _show(measure(seconds, away, say=lambda text: print(text, file=sys.stderr)), as_json=as_json)
