"""`lintel demo`: a small community on this machine, with real protocols and simulated hardware."""

import sys
from typing import Annotated

import typer

from lintel.edge.cli.options import print_json
from lintel.edge.cli.text import tr

app = typer.Typer()


@app.callback(
    invoke_without_command=True,
    help=tr(
        "Run a small community on this machine: 200 households, 6 doors, a real broker, simulated devices."
        " Exits 0 only if everything went as the script expects. Ctrl-C stops it.",
        "在本机运行一个小社区:200 户、6 扇门、真实的消息代理和模拟设备。只有一切符合脚本预期才返回 0。按 Ctrl-C 停止。",
    )
    + "\n\n  lintel demo --seconds 30",
)
def demo(
    seconds: Annotated[float, typer.Option(min=1, max=86400, help=tr("How long.", "运行多久(秒)。"))] = 30.0,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("Print one JSON line at the end.", "结束时输出一行 JSON。"))
    ] = False,
) -> None:
    """Exit 0 when every expectation held."""
    from lintel.demo.run import play  # noqa: PLC0415  --help must not load the simulators

    result = play(seconds, quiet=as_json)
    if as_json:
        print_json(result.as_json())
    for line in result.wrong:
        print(line, file=sys.stderr)
    raise typer.Exit(0 if result.held else 1)
