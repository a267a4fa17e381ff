"""Where `lintel device install` takes a lock's secret from: not the command line, which others and a history see."""

import getpass
import sys
from pathlib import Path
from typing import Final

from lintel.edge.errors import LintelError
from lintel.edge.text import tr

ASK: Final = "-"
"""In the place of the secret itself: ask for it, or read it where the input is a pipe."""
MOST: Final = 1024
"""Characters that are read at most."""


def read(given: str, file: Path | None) -> str:
    """The secret as hex digits, "" where there is none. Raises LintelError, which quotes nothing of it."""
    if given and file is not None:
        raise LintelError(tr("give --secret or --secret-file, not both", "--secret 与 --secret-file 只能用一个"))
    if file is not None:
        text = _of_file(file)
    elif not given:
        return ""
    elif given != ASK:
        raise LintelError(tr(
            "a secret does not belong on the command line, where other users and the shell's history see it: "
            "'--secret -' asks for it or reads it from a pipe, '--secret-file FILE' from a file; "
            "what was typed is known now, so clear it from the history",
            "密钥不应写在命令行上，其他用户和命令历史都能看到：用 '--secret -' 交互输入或从管道读取，"
            "或用 '--secret-file FILE' 从文件读取；已输入的内容请从命令历史中清除",
        ))  # fmt: skip
    elif sys.stdin.isatty():
        text = getpass.getpass(tr("Secret, in hex (not shown): ", "密钥（十六进制，不显示）："))
    else:
        text = sys.stdin.read(MOST)
    try:
        return bytes.fromhex(text).hex().upper() or _empty()
    except ValueError:
        raise LintelError(tr("the secret is hex digits", "密钥应为十六进制数字")) from None


def _empty() -> str:
    raise LintelError(tr("no secret was given", "没有给出密钥"))


def _of_file(file: Path) -> str:
    try:
        shared = file.stat().st_mode & 0o077
        with file.open(encoding="ascii") as opened:
            text = opened.read(MOST)
    except (OSError, UnicodeDecodeError):
        raise LintelError(tr(f"{file}: can not be read", f"{file}：无法读取")) from None
    if shared:
        raise LintelError(tr(f"{file}: others can read it; chmod 600 it", f"{file}：其他用户可读，请先 chmod 600"))
    return text
