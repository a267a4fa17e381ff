"""`lintel simulate KIND`: virtual hardware for demos, tests and integrators."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lintel.edge.text import told, tr

app = typer.Typer(
    name="simulate",
    no_args_is_help=True,
    help=tr("Virtual door hardware that speaks the real protocols.", "模拟门禁硬件,使用真实协议。")
    + "\n\n"
    + tr(
        "Type a line to act: a reader scans it, a terminal shows that person or QR code, a relay takes a word such "
        "as open, close, force, prop, ledger. A line that starts with { is a JSON command. Ctrl-D ends.",
        "输入一行即执行:读头扫描该文本,终端显示该人员或二维码,继电器接受 open、close、force、prop、ledger 等词。"
        "以 { 开头的行是 JSON 命令。按 Ctrl-D 结束。",
    )
    + "\n\n  lintel simulate relay --id door-1",
)

_More = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=tr("Any other option; --set help=1 lists them.", "其他选项;--set help=1 列出全部"),
    ),
]
_Json = Annotated[bool, typer.Option("--json", help=tr("Events as JSON lines.", "以 JSON 行输出事件"))]
_Stay = Annotated[bool, typer.Option("--stay", help=tr("Go on when the input ends.", "输入结束后继续运行"))]
_Broker = Annotated[str, typer.Option(help=tr("host:port of the MQTT broker.", "MQTT 服务器地址"))]


def _spec(kind: str, more: list[str] | None, **values: object) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for pair in more or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(tr(f"{pair!r} is not NAME=VALUE", f"{pair!r} 不是 NAME=VALUE"), param_hint="--set")
        extra[name.replace("-", "_")] = value
    return {"kind": kind} | {k: v for k, v in values.items() if v is not None} | extra


def _show(began: float) -> Callable[..., None]:
    def show(event: str, **fields: Any) -> None:  # noqa: ANN401  events carry anything
        who = fields.pop("id", "")
        at = fields.pop("t", time.monotonic()) - began
        said = " ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in fields.items() if v is not None)
        print(f"{at:9.3f}  {who:<16}  {event}  {said}".rstrip(), flush=True)

    return show


def _options_help(kind: str) -> str:
    from dataclasses import fields  # noqa: PLC0415  loaded only when somebody simulates

    from lintel.simulators.host import part_class  # noqa: PLC0415

    lines = [f"  {f.name} = {f.default!r}  {f.metadata['help']}" for f in fields(part_class(kind).options_class)]
    head = tr(f"Options of {kind} (--set NAME=VALUE):", f"{kind} 的选项(--set NAME=VALUE):")
    return head + "\n" + "\n".join(lines)


def _run(specs: list[dict[str, Any]], *, as_json: bool, stay: bool) -> None:
    from lintel.simulators.host import Host, write_line  # noqa: PLC0415  loaded only when somebody simulates
    from lintel.simulators.parts import SimulatorError  # noqa: PLC0415

    if any("help" in spec for spec in specs):
        kind = specs[0].get("dialect", specs[0]["kind"])
        print(_options_help(kind))
        return

    async def live() -> None:
        await Host(specs, write_line if as_json else _show(time.monotonic()), stay=stay).run()

    try:
        asyncio.run(live())
    except (SimulatorError, OSError) as error:
        print(f"lintel simulate: {told(error)}", file=sys.stderr)
        raise typer.Exit(2) from None


@app.command(
    "qr-reader",
    help=tr("A serial QR reader on a pty. A typed line is scanned.", "串口二维码读头,输入一行即扫描一次。")
    + "\n\n  lintel simulate qr-reader --link ./gate-qr --framing crlf\n\n"
    + tr(
        'A picture is read as optics would: {"cmd":"scan","picture":"pass.png"}. Faults: '
        '{"cmd":"unplug"}, "replug", "half".',
        '图片按光学方式读取:{"cmd":"scan","picture":"pass.png"}。故障:{"cmd":"unplug"}、"replug"、"half"。',
    ),
)
def qr_reader(
    link: Annotated[str | None, typer.Option(help=tr("Stable path of the serial port.", "串口的固定路径"))] = None,
    framing: Annotated[
        str,
        typer.Option(
            help=tr(
                "cr, crlf, lf, tab, stxetx, none, ssi or acknak", "分帧:cr、crlf、lf、tab、stxetx、none、ssi 或 acknak"
            )
        ),
    ] = "crlf",
    baud: Annotated[int, typer.Option(help=tr("Line speed; 0: no delay.", "波特率;0:没有延迟"))] = 9600,
    name: Annotated[str, typer.Option(help=tr("Name in events.", "事件中的名称"))] = "qr-reader",
    more: _More = None,
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """A serial QR reader on a pty. A typed line is scanned."""
    _run([_spec("qr-reader", more, id=name, link=link, framing=framing, baud=baud)], as_json=as_json, stay=stay)


@app.command(
    "osdp-reader",
    help=tr(
        "An OSDP reader on a pty. A typed line is a card (facility-number, or hex), or keys that end with #.",
        "OSDP 读头。输入一行:卡号(设施码-卡号,或十六进制),或以 # 结尾的按键。",
    )
    + "\n\n  lintel simulate osdp-reader --link ./bus --address 1 --install\n\n"
    + tr(
        'Others: {"cmd":"tamper"}, "input", "power_off", "power_on", "unplug", "replug", "lie", "ledger". '
        "In a fleet, readers with the same link are on one line.",
        '其他:{"cmd":"tamper"}、"input"、"power_off"、"power_on"、"unplug"、"replug"、"lie"、"ledger"。'
        "在 fleet 中,link 相同的读头接在同一条总线上。",
    ),
)
def osdp_reader(
    link: Annotated[str | None, typer.Option(help=tr("Stable path of the serial port.", "串口的固定路径"))] = None,
    address: Annotated[int, typer.Option(help=tr("Address on the line, 0 to 126.", "总线地址,0 到 126"))] = 0,
    key: Annotated[
        str, typer.Option(help=tr("Its own key, 32 hex digits.", "读头自己的密钥,32 位十六进制"), metavar="HEX")
    ] = "",
    baud: Annotated[int, typer.Option(help=tr("Line speed; 0: no delay.", "波特率;0:没有延迟"))] = 9600,
    *,
    name: Annotated[str, typer.Option(help=tr("Name in events.", "事件中的名称"))] = "osdp-reader",
    more: _More = None,
    install: Annotated[
        bool, typer.Option("--install", help=tr("It waits for its key.", "安装模式:等待设置密钥"))
    ] = False,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """An OSDP reader on a pty."""
    spec = _spec("osdp-reader", more, id=name, link=link, address=address, key=key, baud=baud, install=install)
    _run([spec], as_json=as_json, stay=stay)


@app.command(
    "face-terminal",
    help=tr("A face terminal with its own person list and relay.", "人脸终端,自带人员库和继电器。")
    + "\n\n  lintel simulate face-terminal --id 1026700 --broker 127.0.0.1:1883 --set heartbeat=5\n\n"
    + tr(
        "A typed line is the id of a person who steps in front, or else a QR text; "
        '{"cmd":"stranger"}, {"cmd":"ledger"}.',
        '输入一行:走到终端前的人员编号,否则为二维码文本;{"cmd":"stranger"}、{"cmd":"ledger"}。',
    ),
)
def face_terminal(
    dialect: Annotated[
        str, typer.Option(help=tr("mqtt-face, yld or luozhi", "协议方言:mqtt-face、yld 或 luozhi"))
    ] = "mqtt-face",
    device: Annotated[str | None, typer.Option("--id", help=tr("Device id in its topics.", "主题中的设备编号"))] = None,
    broker: _Broker = "127.0.0.1:1883",
    persons: Annotated[Path | None, typer.Option(help=tr("JSON file with persons.", "人员的 JSON 文件"))] = None,
    more: _More = None,
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """A face terminal with its own person list and relay."""
    chosen = _spec(
        "face-terminal", more, dialect=dialect, id=device, broker=broker, persons=str(persons) if persons else None
    )
    _run([chosen], as_json=as_json, stay=stay)


@app.command(
    "rtsp-camera",
    help=tr(
        "An IP camera (RTSP). A typed line is a QR code held before it.", "网络摄像机(RTSP),输入一行即出示该二维码。"
    )
    + "\n\n  lintel simulate rtsp-camera --listen 127.0.0.1:8554 --set username=admin --set password=demo\n\n"
    + tr(
        'Faults: {"cmd":"unplug"}, "plug", "freeze", "deaf"; {"cmd":"show","picture":"pass.png"} shows a file.',
        '故障:{"cmd":"unplug"}、"plug"、"freeze"、"deaf";{"cmd":"show","picture":"pass.png"} 出示图片文件。',
    ),
)
def rtsp_camera(
    listen: Annotated[str, typer.Option(help=tr("host:port that it listens on.", "监听地址"))] = "127.0.0.1:8554",
    name: Annotated[str, typer.Option(help=tr("Name in events.", "事件中的名称"))] = "camera",
    more: _More = None,
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """An IP camera. A typed line is a QR code held before it."""
    _run([_spec("rtsp-camera", more, id=name, listen=listen)], as_json=as_json, stay=stay)


@app.command(
    "relay",
    help=tr("A relay with a door and its position switch.", "继电器、门和门磁。")
    + "\n\n  lintel simulate relay --id door-1 --set open_after=1 --set close_after=3\n\n"
    + tr("Type open, close, force, prop, button or ledger.", "可输入 open、close、force、prop、button 或 ledger。"),
)
def relay(
    device: Annotated[
        str | None, typer.Option("--id", help=tr("Device id and topic prefix.", "设备编号,也是主题前缀"))
    ] = None,
    broker: _Broker = "127.0.0.1:1883",
    more: _More = None,
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """A relay with a door and its position switch."""
    _run([_spec("relay", more, id=device, broker=broker)], as_json=as_json, stay=stay)


@app.command(
    "ble-lock",
    help=tr("A Bluetooth lock on a controller of this machine.", "使用本机蓝牙控制器的蓝牙锁。")
    + "\n\n  lintel simulate ble-lock --kind lintel --transport hci-socket:0 --set file=lock.json\n\n"
    + tr(
        "The controller is named as bumble does: hci-socket:0, usb:0, serial:/dev/ttyUSB0, tcp-client:HOST:PORT. "
        "Type button (pairing), hand, jam, door or ledger.",
        "控制器按 bumble 的写法:hci-socket:0、usb:0、serial:/dev/ttyUSB0、tcp-client:HOST:PORT。"
        "可输入 button(配对)、hand、jam、door 或 ledger。",
    ),
)
def ble_lock(
    transport: Annotated[str, typer.Option(help=tr("Bluetooth controller.", "蓝牙控制器"))],
    kind: Annotated[str, typer.Option(help=tr("lintel, nuki or yale", "lintel、nuki 或 yale"))] = "lintel",
    address: Annotated[str | None, typer.Option(help=tr("Its Bluetooth address.", "蓝牙地址"))] = None,
    device: Annotated[str | None, typer.Option("--id", help=tr("Name in events.", "事件中的名称"))] = None,
    more: _More = None,
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """A Bluetooth lock on a controller of this machine."""
    if kind not in ("lintel", "nuki", "yale"):
        message = tr("lintel, nuki or yale", "lintel、nuki 或 yale")
        raise typer.BadParameter(message, param_hint="--kind")
    spec = _spec(f"ble-{kind}", more, id=device, address=address, transport=transport)
    _run([spec], as_json=as_json, stay=stay)


@app.command(
    "fleet",
    help=tr("Several devices in one process.", "一个进程里的多台设备。")
    + "\n\n  lintel simulate fleet site.json\n\n"
    + tr("The file: ", "文件:")
    + '{"defaults": {"broker": "127.0.0.1:1883"}, "parts": [{"kind": "relay", "id": "door-1"}, ...]}. '
    + tr("Commands name the device: ", "命令中写明设备:")
    + '{"cmd":"force","id":"door-1"}.',
)
def fleet(
    file: Annotated[Path, typer.Argument(help=tr("JSON file with the devices.", "设备清单的 JSON 文件"))],
    *,
    as_json: _Json = False,
    stay: _Stay = False,
) -> None:
    """Several devices in one process."""
    from lintel.simulators.host import fleet_specs  # noqa: PLC0415  loaded only when somebody simulates
    from lintel.simulators.parts import SimulatorError  # noqa: PLC0415

    try:
        specs = fleet_specs(file.read_text("utf-8"))
    except (SimulatorError, OSError) as error:
        print(f"lintel simulate: {told(error)}", file=sys.stderr)
        raise typer.Exit(2) from None
    _run(specs, as_json=as_json, stay=stay)
