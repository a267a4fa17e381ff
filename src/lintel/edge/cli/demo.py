"""`lintel demo`: a small community on this machine, with real protocols and simulated hardware."""

import sys
from typing import Annotated

import typer

from lintel.edge.cli.options import print_json
from lintel.edge.text import tr

app = typer.Typer()


@app.callback(
    invoke_without_command=True,
    help=tr(
        "Run a small community on this machine: 200 households, 6 doors, a real broker, simulated devices."
        " Goes on until every scene of the script was played (about 10 s), however short --seconds is."
        " Exits 0 only if all went as the script expects, 1 if not, 130 if Ctrl-C stopped it before the last scene.",
        "在本机运行一个小社区:200 户、6 扇门、真实的消息代理和模拟设备。"
        "无论 --seconds 多短,都会演完脚本的全部场景(约 10 秒)。"
        "全部符合脚本预期返回 0,否则返回 1;演完之前按 Ctrl-C 停止返回 130。",
    )
    + "\n\n  lintel demo --seconds 30",
)
def demo(
    seconds: Annotated[float, typer.Option(min=1, max=86400, help=tr("How long.", "运行多久(秒)。"))] = 30.0,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("Print one JSON line at the end.", "结束时输出一行 JSON。"))
    ] = False,
) -> None:
    """Exit 0 when the whole script was played and every expectation held."""
    from lintel.demo.run import play  # noqa: PLC0415  --help must not load the simulators

    result = play(seconds, quiet=as_json)
    if as_json:
        print_json(result.as_json())
    for line in result.wrong:
        print(line, file=sys.stderr)
    raise typer.Exit(0 if result.held else 1 if result.wrong or result.lost else 130)
