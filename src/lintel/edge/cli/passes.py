"""`lintel pass`: make keys, issue, verify and show visitor passes, without a gateway or a network."""

import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from nacl.signing import SigningKey

from lintel.edge.cli.options import Json, print_json
from lintel.edge.cli.pass_arguments import (
    group_mask,
    moment_of,
    needed,
    public_key_of,
    secret,
    site_number,
    token_of,
)
from lintel.edge.cli.qr import render, save_png, save_svg
from lintel.edge.errors import LintelError
from lintel.edge.model import Reason
from lintel.edge.passes import (
    REVIEW,
    ROTATING_ONLY,
    STEP_S,
    BadPass,
    Claims,
    PassKey,
    RotatingCode,
    StaticPass,
    check_step,
    issue,
    parse,
    rotating,
    verify,
)
from lintel.edge.text import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr("Visitor passes: issue, verify, show.", "访客通行码：签发、验证、显示。")
    + "\n\n  lintel pass key issuer.key --key-id 7",
)

PNG = typer.Option("--png", help=tr("Write the QR code as a PNG file.", "把二维码写成 PNG 文件。"))
SVG = typer.Option("--svg", help=tr("Write the QR code as an SVG file.", "把二维码写成 SVG 文件。"))
SHOW = typer.Option("--show/--no-show", help=tr("Draw the QR code here.", "在终端显示二维码。"))
SITE = typer.Option(help=tr("Site number, as in the gateway's file; 0x... is hex.", "小区编号，与网关配置一致。"))
SECRET = typer.Option(
    "--secret-file", help=tr("Secret of a rotating pass: 64 hex digits.", "动态码的密钥文件，64 个十六进制字符。")
)


@app.command(
    help=tr(
        "Make a new issuer key and print the block for the gateway's file.", "生成签发密钥，并打印网关配置中的公钥段。"
    )
    + "\n\n  lintel pass key issuer.key --key-id 7"
)
def key(
    file: Annotated[Path, typer.Argument(help=tr("File to make, readable by you alone.", "新密钥文件，仅本人可读。"))],
    key_id: Annotated[int, typer.Option(min=1, max=255, help=tr("Number of the key.", "密钥编号。"))] = 1,
    role: Annotated[str, typer.Option(help=tr("issuer or delegate.", "角色:issuer 或 delegate。"))] = "issuer",
    as_json: Json = False,
) -> None:
    """Never overwrites a file."""
    if role not in ("issuer", "delegate"):
        raise LintelError(tr("--role is issuer or delegate", "--role 只能是 issuer 或 delegate"))
    seed = secrets.token_bytes(32)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(seed.hex() + "\n")
    except OSError as error:
        raise LintelError(f"{file}: {error.strerror}") from error
    public = SigningKey(seed).verify_key.encode().hex()
    if as_json:
        print_json({"id": key_id, "public_key": public, "role": role, "file": str(file)})
    else:
        typer.echo(f'[[pass_key]]\nid = {key_id}\npublic_key = "{public}"\nrole = "{role}"')


@app.command(
    "issue",
    help=tr("Sign a pass, or print the current rotating code.", "签发通行码，或输出当前动态码。")
    + "\n\n  lintel pass issue --key issuer.key --key-id 7 --site 1 --groups 0,1 --minutes 120 --png pass.png"
    + "\n\n  lintel pass issue --rotating --secret-file pass.secret --pass-id 5",
)
def issue_(
    *,
    key_file: Annotated[Path | None, typer.Option("--key", help=tr("Issuer key file.", "签发密钥文件。"))] = None,
    key_id: Annotated[int, typer.Option(help=tr("Number of the key, 1 to 255.", "密钥编号，1 到 255。"))] = 1,
    site: Annotated[str, SITE] = "",
    groups: Annotated[
        str,
        typer.Option(help=tr("Door groups: bit numbers 0,1,5 or a mask 0x23.", "门组：位号 0,1,5 或掩码 0x23。")),
    ] = "",
    start: Annotated[
        str, typer.Option("--from", help=tr("2026-11-22T08:00, local time; else now.", "开始时间（本地），默认现在。"))
    ] = "",
    minutes: Annotated[int, typer.Option(help=tr("How long it is valid.", "有效时长（分钟）。"))] = 480,
    until: Annotated[str, typer.Option(help=tr("End, instead of --minutes.", "结束时间，代替 --minutes。"))] = "",
    uses: Annotated[int, typer.Option(help=tr("How often it opens; 0: no limit.", "可用次数，0 为不限。"))] = 0,
    pass_id: Annotated[
        int | None, typer.Option(help=tr("Number of the pass; else random.", "通行码编号，默认随机。"))
    ] = None,
    rotating_only: Annotated[
        bool, typer.Option("--rotating-only", help=tr("Not good on paper.", "静态码无效。"))
    ] = False,
    review: Annotated[bool, typer.Option("--review", help=tr("Signed by a delegate key.", "由授权密钥签发。"))] = False,
    as_rotating: Annotated[
        bool, typer.Option("--rotating", help=tr("Print the code of now.", "输出当前动态码。"))
    ] = False,
    secret_file: Annotated[Path | None, SECRET] = None,
    png: Annotated[Path | None, PNG] = None,
    svg: Annotated[Path | None, SVG] = None,
    show_: Annotated[bool | None, SHOW] = None,
    as_json: Json = False,
) -> None:
    """The token goes to standard output; the picture beside it where that is a terminal."""
    number = secrets.randbits(32) if pass_id is None else pass_id
    facts: dict[str, object]
    if as_rotating:
        now = time.time()
        if pass_id is None or not 0 <= pass_id < 1 << 32:
            raise LintelError(tr("--rotating needs --pass-id", "--rotating 需要 --pass-id"))
        token = rotating(secret(needed(secret_file, "--secret-file")), number, now)
        facts = {"token": token, "pass_id": number, "valid_to": int((now // STEP_S + 1) * STEP_S)}
    else:
        seed = secret(needed(key_file, "--key"))
        begin = int(moment_of("--from", start) // 60)
        length = minutes if not until else -int(-moment_of("--until", until) // 60) - begin
        flags = REVIEW * review | ROTATING_ONLY * rotating_only
        try:
            claims = Claims(1, flags, key_id, number, begin, length, group_mask(groups), uses)
        except ValueError as error:
            raise LintelError(str(error)) from error
        place = site_number(site)
        token = issue(seed, place, claims)
        facts = {"token": token, "site": place, **_facts(claims)}
    _out(token, facts, png, svg, show=show_, as_json=as_json)


@app.command(
    "verify",
    help=tr("Check a pass; exit 1 when it is refused.", "验证通行码；被拒绝时退出码为 1。")
    + "\n\n  lintel pass verify --key issuer.key --site 1 pass.png"
    + "\n\n  lintel pass verify --public-key HEX --site 1 -  < token.txt",
)
def verify_(
    token: Annotated[str, typer.Argument(help=tr("A token, a picture of one, or -.", "通行码、图片文件，或 -。"))],
    *,
    key_file: Annotated[Path | None, typer.Option("--key", help=tr("Issuer key file.", "签发密钥文件。"))] = None,
    public_key: Annotated[str, typer.Option(help=tr("64 hex digits, instead of --key.", "公钥，代替 --key。"))] = "",
    role: Annotated[str, typer.Option(help=tr("issuer or delegate.", "角色:issuer 或 delegate。"))] = "issuer",
    site: Annotated[str, SITE] = "",
    at: Annotated[str, typer.Option(help=tr("Judge at this time, else now.", "按此时间判断，默认现在。"))] = "",
    secret_file: Annotated[Path | None, SECRET] = None,
    as_json: Json = False,
) -> None:
    """Form, signature, site and time, in the journal's words. Only a gateway knows doors, blocks and uses."""
    moment = moment_of("--at", at)
    facts: Mapping[str, object] = {}
    reason: Reason | None
    try:
        found = parse(token_of(token))
    except BadPass as error:
        reason = error.reason
    else:
        if isinstance(found, RotatingCode):
            facts = {"pass_id": found.pass_id, "step": found.step}
            step = check_step(found, secret(needed(secret_file, "--secret-file")), moment)
            reason = step if isinstance(step, Reason) else None
        else:
            facts = _facts(found.claims)
            reason = _judge(found, public_key_of(key_file, public_key), role, site_number(site), moment)
    if as_json:
        print_json({"ok": reason is None, "reason": reason, **facts})
    else:
        for name, value in facts.items():
            typer.echo(f"{name}: {value}")
        typer.echo(tr("good", "有效") if reason is None else tr("refused: ", "拒绝：") + reason)
    raise typer.Exit(0 if reason is None else 1)


@app.command(
    "show",
    help=tr("Draw the QR code of a token.", "显示通行码的二维码。")
    + "\n\n  lintel pass show - --svg pass.svg < token.txt",
)
def show(
    token: Annotated[str, typer.Argument(help=tr("A token, or -.", "通行码，或 -。"))],
    png: Annotated[Path | None, PNG] = None,
    svg: Annotated[Path | None, SVG] = None,
    show_: Annotated[bool, SHOW] = True,
    as_json: Json = False,
) -> None:
    """Nothing is verified but the form."""
    text = token_of(token)
    found = parse(text)
    facts = _facts(found.claims) if isinstance(found, StaticPass) else {"pass_id": found.pass_id, "step": found.step}
    _out(text, {"token": text, **facts}, png, svg, show=show_, as_json=as_json)


def _judge(found: StaticPass, public: bytes, role: str, site: int, moment: float) -> Reason | None:
    claims = found.claims
    pinned = PassKey(claims.key_id, public, site, role="delegate" if role == "delegate" else "issuer")
    reason = verify(found, {claims.key_id: pinned}, site)
    if reason is None and moment < claims.valid_from:
        return Reason.NOT_YET_VALID
    if reason is None and moment >= claims.valid_to:
        return Reason.EXPIRED
    return reason


def _facts(claims: Claims) -> dict[str, object]:
    return {
        "key_id": claims.key_id,
        "pass_id": claims.pass_id,
        "valid_from": claims.valid_from,
        "valid_to": claims.valid_to,
        "groups": sorted(claims.groups),
        "uses": claims.uses,
        "rotating_only": claims.rotating_only,
        "review": claims.review,
    }


def _out(
    token: str, facts: Mapping[str, object], png: Path | None, svg: Path | None, *, show: bool | None, as_json: bool
) -> None:
    try:
        if png:
            save_png(token, png)
        if svg:
            save_svg(token, svg)
    except OSError as error:
        raise LintelError(f"{error.filename}: {error.strerror}") from error
    if as_json:
        print_json({**facts, "png": str(png) if png else None, "svg": str(svg) if svg else None})
        return
    terminal = sys.stdout.isatty()
    typer.echo(token)
    if terminal if show is None else show:
        typer.echo(render(token, colour=terminal), color=True)
