"""What holds for the repository as a whole: no machine's own names in it, no gaps between its parts."""

import importlib
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import lintel

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# Put together here, so that this file does not hold what it forbids.
REGISTRIES = [
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("unpkg", "com"),
        ("jsdelivr", "net"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("maven", "org"),
        ("proxy", "golang", "org"),
        ("huggingface", "co"),
        ("docker", "io"),
        ("conda", "anaconda", "org"),
        ("deb", "debian", "org"),
        ("tuna", "tsinghua", "edu", "cn"),
        ("mirrors", "aliyun", "com"),
    )
]
MACHINE_PATHS = [
    "/" + "work/",
    "." + "pyenv",
    "/tmp/" + "v/",
    "/opt/" + "wheels",
    "/opt/" + "pypi",
    "/home/" + "runner",
]
WEIGHTS = {".onnx", ".pt", ".pth", ".tflite", ".safetensors", ".h5", ".pb", ".caffemodel", ".rknn", ".engine"}
LONG_BY_NATURE = {"constraints.txt", "constraints-peers.txt", "LICENSE", "CHANGELOG.md", "catalogue.toml"}


def listed() -> list[Path]:
    """The files that are, or would be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


FILES = listed()


def text(path: Path) -> str:
    """A file's text; bytes that are no UTF-8 are replaced."""
    return path.read_text("utf-8", errors="replace")


def offences(words: list[str], files: list[Path]) -> list[str]:
    """Every place where one of the words stands, as "file:line word"."""
    pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    return [
        f"{path.name}:{n} {match[0]}"
        for path in files
        for n, line in enumerate(text(path).splitlines(), 1)
        if (match := pattern.search(line))
    ]


def test_no_registry_is_named() -> None:
    assert offences(REGISTRIES, FILES) == []


def test_no_path_of_a_developers_machine() -> None:
    assert offences(MACHINE_PATHS, FILES) == []


def test_the_two_searches_above_can_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text(f"index = https://{REGISTRIES[0].upper()}/simple\nsrc = {MACHINE_PATHS[0]}main\n")
    assert len(offences(REGISTRIES + MACHINE_PATHS, [bad])) == 2


def test_no_lock_file_and_no_weights() -> None:
    assert [p.name for p in FILES if p.name in {"uv.lock", "poetry.lock", "Pipfile.lock"}] == []
    assert [p.name for p in FILES if p.suffix in WEIGHTS] == []
    assert [p.name for p in FILES if p.stat().st_size > 1_000_000] == []


def test_no_file_holds_two_ideas() -> None:
    counts = {str(p.relative_to(ROOT)): text(p).count("\n") for p in FILES if p.name not in LONG_BY_NATURE}
    assert {name: lines for name, lines in counts.items() if lines > 350} == {}


def test_every_module_can_be_imported() -> None:
    def cannot(name: str) -> None:
        pytest.fail(f"{name} cannot be imported")

    names = [m.name for m in pkgutil.walk_packages(lintel.__path__, "lintel.", onerror=cannot)]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    on_disk = {p.parent for p in FILES if p.is_relative_to(ROOT / "src/lintel") and p.suffix == ".py"}
    assert {p for p in on_disk if not (p / "__init__.py").is_file()} == set(), "a folder without __init__.py"


def test_the_version_is_the_changelogs_newest() -> None:
    heads = re.findall(r"^## \[(\d+\.\d+\.\d+[^\]]*)\]", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert heads, "CHANGELOG.md has no release"
    assert lintel.__version__ == heads[0]
    assert PROJECT["project"]["dynamic"] == ["version"]


def wanted() -> list[Requirement]:
    """Every requirement of pyproject.toml, of every extra and of the build."""
    project = PROJECT["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    lines = [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]
    return [r for r in map(Requirement, lines) if r.name != "lintel"]


def all_pinned(constraints: str, requirements: list[Requirement]) -> None:
    """Each requirement has a pin that fits, and every pin has hashes."""
    blocks = re.split(r"^(?=[a-z0-9])", constraints, flags=re.MULTILINE)[1:]
    pinned = {b.split("==")[0]: Version(re.split(r"[ \\;\n]", b.split("==")[1])[0]) for b in blocks}
    assert all(b.count("--hash=sha256:") >= 1 for b in blocks)
    for requirement in requirements:
        name = requirement.name.lower().replace("_", "-")
        assert name in pinned, f"{name}: run scripts/compile-constraints"
        assert requirement.specifier.contains(pinned[name], prereleases=True), (
            f"{name}: run scripts/compile-constraints"
        )


def test_every_requirement_is_pinned_with_hashes() -> None:
    all_pinned(text(ROOT / "constraints.txt"), wanted())


def test_every_peer_is_pinned_in_the_section_of_its_environment() -> None:
    groups: dict[str, list[str]] = PROJECT["dependency-groups"]
    sections = re.split(r"^# \[(.+)\]$", text(ROOT / "constraints-peers.txt"), flags=re.MULTILINE)
    assert sections[1::2] == list(groups)
    for name, section in zip(sections[1::2], sections[2::2], strict=True):
        all_pinned(section, [Requirement(line) for line in groups[name]])


def test_constraints_are_divided_by_level() -> None:
    assert re.findall(r"^# \[(.+)\]$", text(ROOT / "constraints.txt"), re.MULTILINE) == ["base", "lines", "demo", "dev"]


LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    heads = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [p for p in FILES if p.suffix == ".md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def cited(files: list[Path]) -> set[str]:
    """The pages that program text names."""
    return {name for path in files for name in re.findall(r"[\w./*-]*\w\.md\b", text(path))}


def test_code_cites_no_page_that_a_reader_does_not_have(tmp_path: Path) -> None:
    here = {p.name for p in FILES}
    code = [p for p in FILES if p.suffix in {".py", ".toml", ".service", ".conf", ".rules"} and p != Path(__file__)]
    assert {name for name in cited(code) if name.rsplit("/")[-1].replace("*.md", "README.md") not in here} == set()
    (tmp_path / "bad.py").write_text("# layouts of no-such-page.md, section 9")  # the control
    assert cited([tmp_path / "bad.py"]) == {"no-such-page.md"}


def sections(page: Path) -> list[int]:
    """The depths of a page's headings in their order: the shape that a translation shares. Code is left out."""
    body = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", body, re.MULTILINE)]


CHINESE = [p for p in FILES if p.name.endswith(".zh-CN.md")]


@pytest.mark.parametrize("chinese", [p for p in CHINESE if p.name != "manual.zh-CN.md"], ids=lambda p: p.name)
def test_a_chinese_page_has_the_same_sections(chinese: Path) -> None:
    """All but the manual, whose Chinese form is a short one."""
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert sections(english), f"{english.name} has no headings"
    assert sections(english) == sections(chinese)
    assert re.search(r"[\u4e00-\u9fff]", text(chinese))


def test_every_decision_is_short_and_says_what_it_is_not() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [p.name[:3] for p in pages] == [f"{n:03}" for n in range(1, len(pages) + 1)]
    for page in pages:
        assert text(page).count("\n") <= 45, f"{page.name} is longer than half a page"
        for head in ("## Objective", "## Decision", "## Is / is not"):
            assert head in text(page), f"{page.name}: {head}"
