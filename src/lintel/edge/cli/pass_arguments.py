"""What stands on the command line of `lintel pass`, and in the files it names, as values. Raises LintelError."""

import sys
import time
from datetime import datetime
from pathlib import Path

from nacl.signing import SigningKey

from lintel.edge.cli.qr import tokens_in
from lintel.edge.errors import LintelError
from lintel.edge.passes import ROTATING, STATIC
from lintel.edge.text import tr


def needed(value: Path | None, option: str) -> Path:
    """A file that this form of the command can not do without."""
    if value is None:
        raise LintelError(tr(f"{option} is needed here", f"此处需要 {option}"))
    return value


def secret(file: Path) -> bytes:
    """32 bytes from a file of 64 hex digits that nobody else may read; says nothing of what is in it."""
    try:
        shared = file.stat().st_mode & 0o077
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LintelError(tr(f"{file}: can not be read", f"{file}：无法读取")) from error
    if shared:
        raise LintelError(tr(f"{file}: others can read it; chmod 600 it", f"{file}：其他用户可读，请先 chmod 600"))
    return key_of(text, str(file))


def key_of(text: str, where: str) -> bytes:
    """32 bytes of 64 hex digits; `where` is what the error names."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise LintelError(tr(f"{where}: expected 64 hex digits", f"{where}：应为 64 个十六进制字符"))
    return value


def public_key_of(key_file: Path | None, public_key: str) -> bytes:
    """The public half of an issuer key file, or the hex digits given instead."""
    if public_key:
        return key_of(public_key, "--public-key")
    return SigningKey(secret(needed(key_file, "--key"))).verify_key.encode()


def site_number(text: str) -> int:
    """A site's number, decimal or 0x...."""
    try:
        site = int(text, 0)
    except ValueError:
        site = -1
    if not 0 <= site < 1 << 32:
        raise LintelError(tr("--site is a number from 0 to 4294967295", "--site 应为 0 到 4294967295 的数字"))
    return site


def group_mask(text: str) -> int:
    """Door groups as a 16-bit mask: "0,1,5" or "0x23"."""
    try:
        bits = {int(bit) for bit in text.split(",")} if not text.startswith("0x") else set()
        mask = sum(1 << bit for bit in bits if bit < 16) if bits else int(text, 16)
    except ValueError:
        bits, mask = set(), 0
    if not 0 < mask < 1 << 16 or any(bit > 15 for bit in bits):
        raise LintelError(tr("--groups is like 0,1,5 (0 to 15) or 0x0023", "--groups 形如 0,1,5（0 到 15）或 0x0023"))
    return mask


def moment_of(option: str, text: str) -> float:
    """Unix seconds of a local time such as 2026-11-22T08:00; now where the text is empty."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else time.time()
    except (ValueError, OverflowError) as error:
        raise LintelError(tr(f"{option} is like 2026-11-22T08:00", f"{option} 形如 2026-11-22T08:00")) from error


def token_of(argument: str) -> str:
    """The token itself, from standard input, or from a picture. Spaces at its ends belong to it."""
    if argument == "-":
        return sys.stdin.read(4096).rstrip("\r\n")
    if argument.startswith((STATIC, ROTATING)) or len(argument) > 4096:
        return argument
    if not Path(argument).is_file():
        raise LintelError(tr("neither a pass nor a picture", "既不是通行码，也不是图片文件"))
    found = [text for text in tokens_in(Path(argument)) if text.startswith((STATIC, ROTATING))]
    if not found:
        raise LintelError(tr(f"{argument}: no pass in this picture", f"{argument}：图片中没有通行码"))
    return found[0]
