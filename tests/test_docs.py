"""The pages say what the program does: keys, words, commands, files and examples are compared with the code."""

import asyncio
import hmac
import json
import re
import shlex
import subprocess
import sys
import tomllib
from datetime import UTC
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import base45
import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lintel.edge import broker, config, line_tables, passes
from lintel.edge.cli import _COMMANDS, _app
from lintel.edge.digests import Digester
from lintel.edge.health import _HELP
from lintel.edge.model import Method, Notice, Outcome, Reason
from lintel.edge.store import CredentialPut, Store, transfer

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / p for p in ("README.md", "README.zh-CN.md", "docs/manual.md", "docs/manual.zh-CN.md")]
DEVICES = ROOT / "docs/devices.md"
MANUAL = (ROOT / "docs/manual.md").read_text("utf-8")
REASONS = (ROOT / "docs/reasons.md").read_text("utf-8")
EXAMPLES = ROOT / "examples"


def section(text: str, head: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = len(head) - len(head.lstrip("#"))
    found = re.search(rf"^{re.escape(head)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {head!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the table lines that begin with something in code style."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# ---- the closed vocabulary


@pytest.mark.parametrize(("head", "words"), [("## Decisions", Reason), ("## Orders", Outcome), ("## Notices", Notice)])
def test_the_words_are_those_of_the_model(head: str, words: type[StrEnum]) -> None:
    listed = [row[0].strip("`") for row in rows(section(REASONS, head))]
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(w) for w in words}


def test_the_chinese_page_has_the_same_words_in_the_same_order() -> None:
    chinese = (ROOT / "docs/reasons.zh-CN.md").read_text("utf-8")
    marks = {"*later*": "*以后*", "*stands*": "*持续*", "yes": "是", "no": "否"}

    def shape(text: str) -> list[tuple[str, ...]]:
        found = [(row[0], *re.findall(r"^\*\w+\*", row[1]), *row[2:]) for row in rows(text)]
        return [tuple(marks.get(cell, cell) for cell in row) for row in found]

    assert shape(chinese) == shape(REASONS)


def test_words_that_come_later_are_marked_and_no_others() -> None:
    source = "\n".join(
        p.read_text("utf-8") for p in (ROOT / "src/lintel/edge").rglob("*.py") if p.name not in ("model.py", "words.py")
    )
    for head, words in (("## Decisions", Reason), ("## Orders", Outcome), ("## Notices", Notice)):
        later = {row[0].strip("`") for row in rows(section(REASONS, head)) if row[1].startswith("*later*")}
        silent = {str(w) for w in words if not re.search(rf"\b{words.__name__}\.{w.name}\b", source)}
        assert later == silent, head


def test_only_a_granted_decision_opens() -> None:
    opening = {row[0].strip("`") for row in rows(section(REASONS, "## Decisions")) if row[2] == "yes"}
    assert opening == {"granted", "fire_release", "egress", "operator_open"}


# ---- the configuration

TABLES: dict[str, type[BaseModel]] = {
    "## Top level": config.Config,
    "## `[site]`": config.Site,
    "## `[clock]`": config.Clock,
    "## `[[pass_key]]`": config.Key,
    '## `[[line]]` with `driver = "serial_qr"`': line_tables.SerialLine,
    '## `[[line]]` with `driver = "mqtt_terminal"`': line_tables.MqttLine,
    '## `[[line]]` with `driver = "osdp"`': line_tables.OsdpLine,
    '## `[[line]]` with `driver = "ble_lock"`': line_tables.BleLine,
    '## `[[line]]` with `driver = "gpio"`': line_tables.GpioLine,
    '## `[[line]]` with `driver = "camera"`': line_tables.CameraLine,
    "## `[[device]]`": config.DeviceTable,
    "## `[[door]]`": config.DoorTable,
}


@pytest.mark.parametrize("name", ["configuration.md", "configuration.zh-CN.md"])
@pytest.mark.parametrize("head", TABLES)
def test_every_key_is_on_both_pages_with_its_default(head: str, name: str) -> None:
    text = (ROOT / "docs" / name).read_text("utf-8").replace("必填", "required").replace("## 顶层", "## Top level")
    part = section(re.sub(r"^(## `.*`),`", r"\1 with `", text, flags=re.MULTILINE), head)
    table = {row[0].strip("`"): row[1] for row in rows(part)}
    fields = TABLES[head].model_fields
    assert set(table) == set(fields)
    for key, said in table.items():
        default = fields[key].default
        if default is PydanticUndefined:
            assert said == "required", key
        elif said.startswith("`") and not isinstance(default, BaseModel):
            word = said.strip("`").strip('"')
            assert word == (str(default).lower() if isinstance(default, bool) else str(default)), key
        else:
            assert said != "required", key


def test_the_pages_have_a_table_for_every_model() -> None:
    named = {**vars(config), **vars(line_tables)}.values()
    models = {m for m in named if isinstance(m, type) and issubclass(m, line_tables.Table)} - {line_tables.Table}
    assert {m for m in models if not m.__name__.startswith("_")} == set(TABLES.values())


def test_the_file_columns_are_in_the_manual() -> None:
    part = section(MANUAL, "## Who may pass: allowlist files")
    named = {name for row in rows(part) for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(transfer.COLUMNS)
    assert all(f"`{name}`" in part for name in transfer.SECTIONS)


def test_the_metrics_are_those_of_the_gateway() -> None:
    table = {
        name: row for row in rows(section(MANUAL, "## Watching it")) for name in re.findall(r"`(lintel_\w+)`", row[0])
    }
    for name, _, labels in _HELP.values():
        assert tuple(re.findall(r"`(\w+)`", table.pop(name)[1])) == labels
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "src/lintel/edge").glob("*.py"))
    assert set(table) == set(re.findall(r'"(lintel_\w+)":', source)) != set()


# ---- visitor passes


def test_the_vectors_of_the_pass_format_are_right() -> None:
    static, rotating = re.findall(r"```\n(.*?)```", (ROOT / "docs/pass-format.md").read_text("utf-8"), re.DOTALL)
    said = dict(re.split(r" {2,}", line) for line in static.splitlines())
    claims = passes.Claims(1, 0, 7, 123456789, 1760000000 // 60, 480, 0x00FF, 3)
    assert (said["claims"], said["token"]) == (claims.pack().hex(), passes.issue(bytes(range(32)), 12648430, claims))
    assert base45.b45decode(said["token"].removeprefix("L1:")).hex() == said["claims"] + said["signature"]
    said = dict(re.split(r" {2,}", line) for line in rotating.splitlines())
    assert said["token"] == passes.rotating(bytes(range(0x20, 0x40)), 123456789, 1760000000)
    assert base45.b45decode(said["token"].removeprefix("L2:")).hex() == said["bytes"]
    key, step = bytes.fromhex(said["key"]), 1760000000 // 30
    mac = hmac.digest(key, (123456789).to_bytes(4, "big") + step.to_bytes(8, "big"), "sha256")
    assert said["bytes"] == "075bcd15" + f"{step & 0xFFFF:04x}" + mac[:10].hex()


# ---- commands


TREE: Any = typer.main.get_command(_app([]))


def quoted(page: Path) -> list[str]:
    """What stands after `lintel` in shell blocks and in code style; the rest of a sentence is not a command line."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        found += re.findall(r"(?:^|[\s/])lintel +([a-z].*)$", block, re.MULTILINE)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found += re.findall(r"`[^`\n]*?\blintel\s+([a-z][^`]*)`", prose)
    return [line for line in found if not line.startswith(("run --config FILE", "test"))]


def parse(line: str) -> list[str]:
    """Walk the command tree along a command line: the command's name and its options. Raises LookupError."""
    words = shlex.split(re.split(r"\s(?:>>?|<|\||&&|&)\s", line.replace("...", "").split(" #")[0])[0])
    command, path = TREE, []
    while hasattr(command, "commands") and words:
        path.append(words.pop(0))
        if path[-1] not in command.commands:
            raise LookupError(f"no such command: {' '.join(path)}")
        command = command.commands[path[-1]]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        if word.startswith("-") and word != "-" and word.split("=")[0] not in known:
            raise LookupError(f"{' '.join(path)} has no option {word}")
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_line_on_a_page_exists(page: Path) -> None:
    lines = quoted(page)
    assert len(lines) >= 10
    for line in lines:
        parse(line)


@pytest.mark.parametrize("line", ["enrol CODE", "journal mend", "status --colour", "allowlist import x.csv --force"])
def test_a_command_line_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(LookupError):
        parse(line)


def test_the_floors_in_contributing_are_those_that_are_checked() -> None:
    picture = section((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "## The import rule").split("```")[1]
    drawn = [
        set(re.findall(r"[a-z]+", re.split(r" {3,}(?=\S)", line.strip())[0])) for line in picture.split("\n")[1:-1]
    ]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    assert drawn == [set(re.findall(r"[a-z]+", layer)) - {"main"} for layer in contract["layers"]]


def test_the_readme_shows_every_command() -> None:
    shown = {parse(line)[0] for page in (PAGES[0], PAGES[2]) for line in quoted(page) if parse(line)}
    assert shown == set(_COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"(?<![\w/~.-])((?:src|docs|examples|systemd|tests|scripts)/[\w./-]*[\w])", text))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


# ---- examples


def test_the_example_lists_import_without_a_mistake(tmp_path: Path) -> None:
    digest = Digester(bytes(32))
    for name, least in (("residents.csv", 5), ("allowlist.json", 7)):
        changes, mistakes = transfer.read_import(EXAMPLES / name, digest, ZoneInfo("Asia/Shanghai"))
        assert mistakes == []
        assert len(changes) >= least

    async def both() -> None:
        store = Store.open(tmp_path, bytes(32))
        for name in ("residents.csv", "allowlist.json"):
            params = {"text": (EXAMPLES / name).read_text("utf-8"), "form": name.rsplit(".")[-1]}
            assert (await store.import_rows(params, digest, UTC))["mistakes"] == []
        await store.close()

    asyncio.run(both())


def test_the_code_that_the_readme_types_opens_the_example_door() -> None:
    site = config.load(EXAMPLES / "gateway.toml")
    code = re.search(r"`(R-\w+)`", PAGES[0].read_text("utf-8"))
    assert code
    people, _ = transfer.read_import(EXAMPLES / "residents.csv", digest := Digester(bytes(32)))
    holder = next(p for p in people if isinstance(p, CredentialPut) and p.digest == digest(Method.QR, code[1]))
    assert set(holder.groups) & set(site.door[0].groups)
    for page in PAGES[:2]:
        text = page.read_text("utf-8")
        assert f"--site {site.site.id} " in text
        assert f"--id {next(d.address for d in site.device if d.address)}" in text
        assert f"--link {next(line.path for line in site.line if isinstance(line, line_tables.SerialLine))}" in text


def test_json_examples_in_the_manual_are_right() -> None:
    found = re.findall(r'`(\{"passes".*?\})`', MANUAL)
    assert found
    for text in found:
        assert transfer.parse(text, "json", Digester(bytes(32)))[1] == []
        assert json.loads(text)


def test_the_broker_script_of_the_manual_writes_a_configuration(tmp_path: Path) -> None:
    script = re.search(r"```python\n(.*?)```", section(MANUAL, "### The broker"), re.DOTALL)
    assert script
    text = script[1].replace("/etc/lintel/gateway.toml", str(EXAMPLES / "gateway.toml"))
    text = text.replace("/var/lib/mosquitto", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1026700", broker.GATEWAY_USER]
    assert {p.name for p in tmp_path.iterdir()} == {"mosquitto.conf", "passwords", "acl"}
    for line in done.stdout.splitlines():
        assert line.split()[1] not in (tmp_path / "passwords").read_text()


def test_the_line_of_the_manual_fits_the_configuration() -> None:
    block = re.search(r"```toml\n(.*?)```", section(MANUAL, "### The broker"), re.DOTALL)
    assert block
    line = line_tables.MqttLine.model_validate(tomllib.loads(block[1])["line"][0])
    assert line.username == broker.GATEWAY_USER


def test_the_picture_is_well_formed_and_says_what_it_shows() -> None:
    text = (ROOT / "docs/flow.svg").read_text("utf-8")
    assert "<!ENTITY" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    for word in ("Device", "Driver", "Reading", "Gate", "Allowlist", "Policy", "Journal", "Receipt", "later"):
        assert f">{word}<" in text or word in text
    subprocess.run(
        [sys.executable, "-c", "import sys, xml.dom.minidom as d; d.parse(sys.argv[1])", str(ROOT / "docs/flow.svg")],
        check=True,
    )


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")
    for page in folder.glob("[0-9]*.md"):
        title = page.read_text("utf-8").splitlines()[0].removeprefix("# ")
        assert f"[{title}]({page.name})" in index
