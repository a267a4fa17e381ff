"""`lintel device ...`: the devices of the running gateway, and their person lists."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lintel.edge.cli import device_secret
from lintel.edge.cli.options import DEFAULT_STATE, Json, State, print_json
from lintel.edge.text import told, tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr("Devices of the running gateway, and their person lists.", "正在运行的网关的设备及其人员名单。")
    + "\n\n  lintel device list",
)
Device = Annotated[str, typer.Argument(help=tr("Id of a device.", "设备编号。"), metavar="ID")]


@app.command(
    "list",
    help=tr("Every device: state, when it was heard last, persons on it.", "所有设备:状态、最近通信时间、名单情况。")
    + "\n\n  lintel device list --state /var/lib/lintel",
)
def list_(state: State = DEFAULT_STATE, as_json: Json = False) -> None:
    """Exit 1 when no gateway runs, 2 when a device is away, or somebody was not stored, or should be gone by now."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    answer = call(state, "device.list")
    if as_json:
        print_json(answer)
    else:
        for device in answer["devices"]:
            typer.echo(_line(device))
        for left in answer["left"]:
            said = tr(
                f"not in the configuration with a person list: {left['persons']} persons may still be on it",
                f"配置中没有它的人员名单:终端上可能仍有 {left['persons']} 人",
            )
            typer.echo(f"{left['id']}  {said}")
    wrong = [d for d in answer["devices"] if d["state"] != "up" or _unwell(d["persons"] or {})]
    raise typer.Exit(2 if wrong else 0)


@app.command(
    help=tr("One device, with the persons it refused and why.", "查看一台设备,及其拒收的人员和原因。")
    + "\n\n  lintel device show gate-face --state /var/lib/lintel"
)
def show(  # noqa: PLR0917  typer gives every option by its name
    device: Device,
    person: Annotated[
        str, typer.Option(help=tr("One person, by the face's value on the list.", "只看一个人(名单上人脸凭证的值)。"))
    ] = "",
    everybody: Annotated[
        bool, typer.Option("--all", help=tr("Everybody, not only who failed.", "列出所有人。"))
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help=tr("At most so many persons.", "最多列出多少人。"))
    ] = 200,
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Exit 1 when no gateway runs, or there is no such device."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    answer = call(state, "device.show", {"device": device, "person": person, "all": everybody, "limit": limit})
    if as_json:
        print_json(answer)
        return
    typer.echo(_line(answer))
    for name, value in answer["measures"].items():
        typer.echo(f"  {name}: {value:g}")
    persons = answer["persons"]
    if persons is None:
        return
    read = tr("never", "从未") if persons["read_at"] is None else _ago(persons["read_at"])
    typer.echo(tr(f"  read back: {read}", f"  最近回读:{read}"))
    if persons["why"]:
        typer.echo(tr("  waiting: ", "  等待中:") + told(persons["why"]))
    for row in answer["people"]:
        why = " ".join(filter(None, (row["class"], row["code"], told(row["said"]))))
        again = tr(f", again in {_in(row['retry_at'])}", f",{_in(row['retry_at'])}后重试") if _soon(row) else ""
        typer.echo(f"  {row['person']}: {_word(row['state'])}" + (f" ({why}{again})" if why or again else ""))
    for name in answer["foreign"]:
        typer.echo(tr(f"  {name}: not of our list", f"  {name}:不在本网关名单中"))


@app.command(
    help=tr("Read a terminal's list back now, and mend it.", "立即回读终端名单并修正。")
    + "\n\n  lintel device sync gate-face --state /var/lib/lintel"
)
def sync(
    device: Device,
    full: Annotated[bool, typer.Option(help=tr("Send everybody again.", "重新下发所有人员。"))] = False,
    delete_foreign: Annotated[
        bool, typer.Option(help=tr("Delete who is on it and on no list of ours.", "删除终端上不属于本网关名单的人员。"))
    ] = False,
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """The work goes on in the gateway; `show` tells how far it is."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    answer = call(state, "device.sync", {"device": device, "full": full, "delete_foreign": delete_foreign})
    if as_json:
        print_json(answer)
    elif answer["there"]:
        typer.echo(tr(f"{device}: asked", f"{device}:已开始"))
    else:
        typer.echo(tr(f"{device}: when it is there again", f"{device}:设备上线后开始"))


@app.command(
    help=tr(
        "Forget who is on a terminal that is not in the configuration any more, once it is wiped or destroyed.",
        "终端已移出配置并清空或销毁后,清除其人员记录。",
    )
    + "\n\n  lintel device forget gate-face-old --state /var/lib/lintel"
)
def forget(device: Device, state: State = DEFAULT_STATE, as_json: Json = False) -> None:
    """Exit 1 when it is in the configuration, or nobody is known to be on it. Audited."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    answer = call(state, "device.forget", {"device": device})
    if as_json:
        print_json(answer)
    else:
        persons = answer["persons"]
        typer.echo(tr(f"{device}: {persons} persons forgotten", f"{device}:已清除 {persons} 人的记录"))


@app.command(
    help=tr(
        "Arm the install window of a device: keys are made, a lock is paired.",
        "打开设备的安装窗口:生成密钥、配对门锁。",
    )
    + "\n\n  lintel device install gate-reader --minutes 10 --state /var/lib/lintel"
    + "\n\n  lintel device install flat-7-lock --secret - --state /var/lib/lintel"
)
def install(  # noqa: PLR0917  typer gives every option by its name
    device: Device,
    minutes: Annotated[float, typer.Option(min=0.1, max=10, help=tr("How long.", "持续分钟数。"))] = 10.0,
    secret: Annotated[
        str,
        typer.Option(
            metavar="-",
            help=tr(
                "Ask for what its label or its maker says, in hex; read it where the input is a pipe.",
                "提示输入设备标签或厂商给出的密钥(十六进制);标准输入为管道时从中读取。",
            ),
        ),
    ] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help=tr("A file with it that only you can read.", "含该密钥且仅本人可读的文件。"))
    ] = None,
    state: State = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Exit 1 when the device did not arm it."""
    from lintel.edge.control import call  # noqa: PLC0415  loads asyncio

    given = device_secret.read(secret, secret_file)
    answer = call(state, "device.install", {"device": device, "seconds": minutes * 60, "secret": given})
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "executed":
        typer.echo(tr(f"{device}: open for {minutes:g} minutes", f"{device}:已打开 {minutes:g} 分钟"))
    else:
        typer.echo(tr(f"{device}: {answer['outcome']}", f"{device}:{answer['outcome']}"), err=True)
    raise typer.Exit(0 if answer["outcome"] == "executed" else 1)


def _line(device: dict[str, Any]) -> str:
    seen = "-" if device["seen"] is None else _ago(device["seen"])
    since = "" if device["since"] is None else tr(f" since {_ago(device['since'])}", f"({_ago(device['since'])}起)")
    text = f"{device['id']}  {device['line']}  {device['profile']}  {_word(device['state'])}{since}  {seen}"
    return text + ("" if device["persons"] is None else "  " + _counts(device["persons"]))


def _unwell(persons: dict[str, Any]) -> bool:
    return bool(persons.get("failed") or persons.get("overdue"))


def _counts(persons: dict[str, Any]) -> str:
    names = {
        "pending": tr("pending", "待下发"), "sent": tr("sent", "已下发未确认"), "failed": tr("failed", "失败"),
        "deleting": tr("deleting", "待删除"), "overdue": tr("overdue", "逾期未删"), "foreign": tr("not ours", "外来"),
    }  # fmt: skip
    rest = [f"{word} {persons[key]}" for key, word in names.items() if persons[key]]
    return " ".join([tr("persons", "人员") + f" {persons['stored']}/{persons['wanted']}", *rest])


def _word(word: str) -> str:
    known = {
        "up": "在线", "lost": "断开", "silent": "无应答", "starting": "启动中", "refused": "被拒绝",
        "pending": "待下发", "sent": "已下发未确认", "stored": "已存储", "failed": "失败", "deleting": "待删除",
    }  # fmt: skip
    return tr(word, known.get(word, word))


def _ago(moment: float) -> str:
    return tr(f"{_span(time.time() - moment)} ago", f"{_span(time.time() - moment)}前")


def _in(moment: float) -> str:
    return _span(moment - time.time())


def _soon(row: dict[str, Any]) -> bool:
    return bool(row["retry_at"]) and 0 < row["retry_at"] - time.time() < 1e6


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
