"""`lintel run`, `check`, `status` and `lockdown`: the gateway itself."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lintel.edge.cli.options import DEFAULT_STATE, Json, State, print_json
from lintel.edge.errors import ConfigError, LintelError, Mistake
from lintel.edge.text import told, tr

if TYPE_CHECKING:
    from lintel.edge.config import Config

app = typer.Typer()

CONFIG = typer.Option("--config", "-c", help=tr("The gateway's TOML file.", "网关的 TOML 配置文件。"))


@app.command(help=tr("Run the gateway.", "运行网关。") + "\n\n  lintel run --config examples/gateway.toml")
def run(
    config: Annotated[Path, CONFIG],
    log_level: Annotated[
        str, typer.Option(help=tr("debug, info, warning or error.", "日志级别:debug、info、warning 或 error。"))
    ] = "info",
) -> None:
    """Run until SIGTERM or SIGINT."""
    if log_level not in ("debug", "info", "warning", "error"):
        raise LintelError(
            tr("the log level is debug, info, warning or error", "日志级别为 debug、info、warning 或 error")
        )
    # the daemon takes this process over: the command line's own libraries would cost it 6 MB for ever
    os.execv(sys.executable, [sys.executable, "-m", "lintel.edge", str(config), log_level])  # noqa: S606


@app.command(
    help=tr("Check a configuration and its profiles: every mistake at once.", "检查配置和设备档案,一次列出所有错误。")
    + "\n\n  lintel check --config examples/gateway.toml"
)
def check(config: Annotated[Path, CONFIG], as_json: Json = False) -> None:
    """Exit 1 when there is a mistake."""
    from lintel.edge import config as configuration  # noqa: PLC0415  loads pydantic
    from lintel.edge.profiles.loader import check_samples  # noqa: PLC0415  loads pydantic

    mistakes = []
    try:
        site = configuration.load(config)
        mistakes = [f"{config}: {m}" for m in _refused(site)]
        names = {d.profile: site.profile(d) for d in site.device}
        mistakes += [f"{name}: {m}" for name, p in names.items() for m in check_samples(p)]
    except ConfigError as error:
        mistakes = [f"{error.file}: {m}" for m in error.mistakes]
    if as_json:
        print_json({"ok": not mistakes, "mistakes": mistakes})
    else:
        for mistake in mistakes:
            typer.echo(told(mistake), err=True)
        if not mistakes:
            typer.echo(tr(f"{config}: no mistakes", f"{config}:没有错误"))
    raise typer.Exit(1 if mistakes else 0)


def _refused(site: "Config") -> Iterator[Mistake]:
    """What the drivers would refuse when the gateway starts: each line is built, and none is opened."""
    from lintel.edge.clock import Clock  # noqa: PLC0415  `status` needs none
    from lintel.edge.digests import Digester  # noqa: PLC0415  `status` needs none
    from lintel.edge.lines import build_line  # noqa: PLC0415  loads pydantic

    for table in site.line:
        try:
            build_line(site, table, Clock(), Digester(bytes(32)), passwords={})
        except ConfigError as error:
            yield from error.mistakes


@app.command(
    help=tr("What the running gateway says about itself.", "查看正在运行的网关状态。")
    + "\n\n  lintel status --state /var/lib/lintel"
)
def status(
    state: State = DEFAULT_STATE,
    as_json: Json = False,
    metrics: Annotated[bool, typer.Option(help=tr("Print Prometheus metrics.", "输出 Prometheus 指标。"))] = False,
) -> None:
    """Exit 1 when no gateway runs, 2 when an alarm stands."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    if metrics:
        typer.echo(call(state, "metrics"), nl=False)
        return
    answer = call(state, "status")
    if as_json:
        print_json(answer)
    else:
        _print_status(answer)
    raise typer.Exit(2 if answer["alarms"] else 0)


def _print_status(answer: dict[str, Any]) -> None:
    known = answer["allowlist"]
    age = tr("never imported", "从未导入") if known["age_s"] is None else f"{known['age_s']:.0f} s"
    typer.echo(f"lintel {answer['version']}  pid {answer['pid']}  " + tr("clock", "时钟") + f" {answer['clock']}")
    typer.echo(tr("allowlist", "白名单") + f": {known['credentials']}, {age}")
    for line in answer["lines"]:
        typer.echo(f"{tr('line', '线路')} {line['id']}: {line['state']} {line['why']}".rstrip())
    for door in answer["doors"]:
        locked = tr("  LOCKDOWN", "  封控") if door["lockdown"] else ""
        fire = tr("  RELEASED BY FIRE", "  消防释放") if door["fire"] else ""
        typer.echo(f"{tr('door', '门')} {door['id']} ({door['name']}): {door['position'] or '-'}{locked}{fire}")
    for word, detail in answer["alarms"].items():
        typer.echo(f"{tr('ALARM', '告警')} {word}: {detail}")


@app.command(
    help=tr("Lock door groups down, or lift it.", "封控门组,或解除封控。")
    + "\n\n  lintel lockdown on --group tower-a --state DIR"
)
def lockdown(
    switch: Annotated[str, typer.Argument(help=tr("on or off.", "on 封控,off 解除。"))],
    group: Annotated[
        list[str] | None, typer.Option(help=tr("Door group; all when absent.", "门组,缺省为全部。"))
    ] = None,
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """The running gateway remembers it across restarts."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    if switch not in ("on", "off"):
        raise LintelError(tr("say on or off", "请写 on 或 off"))
    answer = call(state, "lockdown", {"groups": group or [], "on": switch == "on"})
    if "unknown" in answer:
        unknown, known = (", ".join(answer[key]) for key in ("unknown", "known"))
        raise LintelError(tr(f"no such door group: {unknown}; known: {known}", f"没有这个门组:{unknown};已知:{known}"))
    if as_json:
        print_json({"lockdown": answer["lockdown"], "durable": answer["durable"]})
        return
    typer.echo(tr("locked down: ", "已封控:") + (", ".join(answer["lockdown"]) or "-"))
    if not answer["durable"]:
        typer.echo(
            tr("in force, but not stored yet: a restart would not know it", "已生效,但尚未写入磁盘:重启后会失效"),
            err=True,
        )
