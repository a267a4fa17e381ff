"""`lintel profile`: list the device models, check a profile file, replay traffic through one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lintel.edge.cli.options import Json, print_json
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.profiles import Meaning, Profile, builtin, check_samples, find, load
from lintel.edge.profiles.serial import Delimited, SerialSpec
from lintel.edge.text import told, tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Device models: one TOML file each. Example: lintel profile replay generic-cr --text 'L1:AB'",
        "设备型号:每个型号一个 TOML 文件。示例:lintel profile replay generic-cr --text 'L1:AB'",
    ),
)


@app.command(
    "list",
    help=tr("The models that come with Lintel. Example: lintel profile list", "内置型号。示例:lintel profile list"),
)
def list_(as_json: Json = False) -> None:
    """Name, driver and title of each built-in profile."""
    profiles = list(builtin().values())
    if as_json:
        keys = ("name", "title", "vendor", "driver", "source", "firmware")
        print_json([{k: getattr(p, k) for k in keys} for p in profiles])
        return
    width = max(len(p.name) for p in profiles)
    for p in profiles:
        print(f"{p.name:{width}}  {p.driver:13}  {p.title}")


@app.command(
    help=tr(
        "Check profile files: every mistake at once, then their samples. Example: lintel profile check my-reader.toml",
        "检查型号文件:一次列出全部错误,并运行样例。示例:lintel profile check my-reader.toml",
    )
)
def check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help=tr("all built-in profiles", "全部内置型号"))] = False,
    as_json: Json = False,
) -> None:
    """Exit 0 when every file is right and all its samples pass, else 1."""
    if bool(files) == all_:
        raise typer.BadParameter(tr("give files, or --all", "请给出文件,或使用 --all"))
    results = [_check(str(f), f) for f in files or ()] + [_check(name, None) for name in builtin() if all_]
    if as_json:
        print_json([{"file": f, "samples": n, "mistakes": [str(m) for m in found]} for f, n, found in results])
    else:
        for file, samples, found in results:
            print(
                tr(f"{file}: right, {samples} samples pass", f"{file}:正确,{samples} 个样例通过") if not found else ""
            )
            if found:
                print(told(ConfigError(file, found)), file=sys.stderr)
    if any(found for _, _, found in results):
        raise typer.Exit(1)


def _check(name: str, path: Path | None) -> tuple[str, int, list[Mistake]]:
    try:
        profile = load(path) if path else builtin()[name]
    except ConfigError as error:
        return name, 0, error.mistakes
    return name, len(profile.samples), check_samples(profile)


@app.command(
    help=tr(
        "Show what the gateway would understand. Example: lintel profile replay my-reader.toml --hex '4C 31 3A 41 0D'",
        "显示网关如何理解一段数据。示例:lintel profile replay my-reader.toml --hex '4C 31 3A 41 0D'",
    )
)
def replay(  # noqa: PLR0917  each is an option
    profile: Annotated[str, typer.Argument(metavar="NAME|FILE")],
    hex_: Annotated[str | None, typer.Option("--hex", help=tr("bytes as hex", "十六进制字节"))] = None,
    text: Annotated[
        str | None,
        typer.Option(help=tr("text; a line end is added where the profile has one", "文本;需要时自动加行尾")),
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(
            help=tr("file: raw bytes, or 'topic payload' lines (MQTT)", "文件:原始字节,或每行“主题 内容”(MQTT)")
        ),
    ] = None,
    topic: Annotated[str, typer.Option(help=tr("MQTT topic of --text", "--text 的 MQTT 主题"))] = "",
    byte_by_byte: Annotated[bool, typer.Option(help=tr("feed single bytes", "逐字节输入"))] = False,
    as_json: Json = False,
) -> None:
    """Codes are shown as they are: here the user typed them."""
    if sum(x is not None for x in (hex_, text, capture)) != 1:
        raise typer.BadParameter(tr("give one of --hex, --text, --capture", "请给出 --hex、--text、--capture 之一"))
    model = load(Path(profile)) if profile.endswith(".toml") else find(profile)
    found: list[Meaning] = []
    for where, data in _traffic(model, hex_, text, capture, topic):
        found += model.understand(where, data, piece=1 if byte_by_byte else 0)
    if as_json:
        print_json([dict(m) for m in found])
        return
    for meaning in found:
        print("  ".join(f"{key}: {value}" for key, value in meaning.items()))
    if not found:
        print(tr("nothing", "无内容"))


def _traffic(
    model: Profile, hex_: str | None, text: str | None, capture: Path | None, topic: str
) -> list[tuple[str, bytes]]:
    serial = isinstance(model.spec, SerialSpec)
    if hex_ is not None:
        try:
            return [(topic, bytes.fromhex(hex_))]
        except ValueError:
            raise typer.BadParameter(tr("bytes as hex, such as '41 0D'", "十六进制字节,如 '41 0D'")) from None
    if text is not None:
        framing = model.spec.framing if isinstance(model.spec, SerialSpec) else None
        return [(topic, text.encode() + (framing.ends[:1] if isinstance(framing, Delimited) else b""))]
    try:
        raw = (capture or Path()).read_bytes()
    except OSError as error:
        raise ConfigError(str(capture), [Mistake("file", f"expected a readable file: {error.strerror}")]) from None
    if serial:
        return [("", raw)]
    lines = [line.partition(b" ") for line in raw.splitlines() if line]
    return [(where.decode(errors="replace"), payload) for where, _, payload in lines]
