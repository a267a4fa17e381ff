"""The catalogue is complete and true: every row, every word, every test that it names."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from lintel.edge.model import Notice, Outcome, Reason

TESTS = Path(__file__).parents[1]
CATALOGUE = tomllib.loads((TESTS / "abuse/catalogue.toml").read_text("utf-8"))
LATER, LATER_ROWS = CATALOGUE.pop("later"), CATALOGUE.pop("later_rows")
SCOPE = {
    *(f"A{n}" for n in range(1, 18)),
    *(f"B{n}" for n in (*range(1, 12), 14, 15)),
    *("C3", "C4"),
    *(f"E{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15)),
    *("F1", "F2", "F3", "F4"),
    *("N1", "N5", "N6", "N8"),
    *(f"G{n}" for n in (*range(1, 12), 13, 14)),
}
ALL = {
    f"{group}{n}"
    for group, last in (("A", 17), ("B", 15), ("C", 11), ("E", 15), ("G", 14), ("N", 10))
    for n in range(1, last + 1)
}
CONTENT = {"bad_format", "too_large", "schema_violation", "unsafe_value"}
"""Words for a file that is refused: they stand in the message, in square brackets."""


@cache
def parsed(file):
    return ast.parse((TESTS / file).read_text("utf-8"))


@cache
def functions(file):
    return {n.name for n in ast.walk(parsed(file)) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


@cache
def tables_of(file):
    """What a test file assigns at its top, by name; helper functions are none of it."""
    found = {}
    for node in parsed(file).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id: node for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def words_in(tree):
    """Every word of the vocabulary's form in a piece of code, as a text or as a member of an enumeration."""
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words |= set(re.findall(r"[a-z0-9_]+", node.value))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            kind = {"Reason": Reason, "Notice": Notice, "Outcome": Outcome}.get(node.value.id)
            words |= {str(kind[node.attr])} if kind and node.attr in kind.__members__ else set()
    return words


@cache
def said(file, function):
    """The words that a test says: in its own lines, without its docstring, or in a table of its file that it names."""
    tree = ast.parse(ast.unparse(next(n for n in ast.walk(parsed(file)) if getattr(n, "name", "") == function)))
    if ast.get_docstring(tree.body[0]) is not None:
        del tree.body[0].body[0]
    words, seen, todo = set(), {function}, [tree]
    while todo:
        node = todo.pop()
        words |= words_in(node)
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - seen
        seen |= names
        todo += [tables[name] for name in names if name in (tables := tables_of(file))]
    return words


def named(row, *keys):
    return [name.split("::") for key in keys or ("tests", "controls") for name in CATALOGUE[row].get(key, [])]


def missing():
    """Tests that the catalogue names and that do not exist; with where a test of that name is, if there is one."""
    wrong = []
    for row in CATALOGUE:
        for file, function in named(row):
            if (TESTS / file).exists() and function in functions(file):
                continue
            now = [
                str(p.relative_to(TESTS))
                for p in TESTS.rglob("test_*.py")
                if f"def {function}(" in p.read_text("utf-8")
            ]
            wrong.append(f"{row}: {file}::{function}" + (f" (now in {now[0]})" if now else ""))
    return wrong


def test_every_row_is_here_or_said_to_come_later():
    assert set(CATALOGUE) == SCOPE
    assert set(LATER_ROWS) == ALL - SCOPE


def test_every_test_that_is_named_exists():
    assert missing() == []


def test_control_a_test_that_does_not_exist_is_noticed(monkeypatch):
    wrong = {"tests": ["edge/test_gate.py::test_none", "edge/none.py::test_n1_a_known_person_without_a_right_here"]}
    monkeypatch.setitem(CATALOGUE, "X1", wrong)
    assert missing() == [
        "X1: edge/test_gate.py::test_none",
        "X1: edge/none.py::test_n1_a_known_person_without_a_right_here (now in edge/test_gate.py)",
    ]


@pytest.mark.parametrize("row", CATALOGUE)
def test_a_row_has_tests_that_say_its_words(row):
    entry = CATALOGUE[row]
    assert set(entry) <= {"words", "tests", "controls", "exempt", "weaker"}
    assert entry["tests"]
    assert bool(entry.get("controls")) != bool(entry.get("exempt")), "a control, or why there is none"
    assert set(entry["words"]) <= {*Reason, *Notice, *Outcome, *CONTENT}
    words = set().union(*(said(file, function) for file, function in named(row, "tests")))
    assert set(entry["words"]) - words == set()


def test_control_a_word_of_another_test_of_the_file_does_not_count():
    """The file says `already_used` often; this test does not."""
    file = "edge/test_gate_passes.py"
    assert "already_used" in said(file, "test_a4_one_pass_at_eight_doors_fifty_at_once_is_one_grant")
    assert "already_used" not in said(file, "test_a_refused_visitor_burns_no_use")
    assert "unsafe_value" in said("abuse/test_files.py", "test_c3_c4_a_hostile_value_in_a_profile_is_refused"), (
        "by table"
    )


@pytest.mark.parametrize("row", CATALOGUE)
def test_a_control_is_called_what_it_is(row):
    found = [function for _, function in named(row, "controls")]
    assert all("control" in name or "without" in name or "disagrees" in name or name in OWN_CONTROL for name in found)


OWN_CONTROL = {"test_the_broker_delivers_again_what_was_not_stored"}
"""Tests that carry their control as one of their cases."""


def test_every_reason_is_produced_or_said_to_come_later():
    produced = {word for entry in CATALOGUE.values() for word in entry["words"]}
    assert set(Reason) - produced == set(LATER)
    assert all(LATER.values())
    assert all(LATER_ROWS.values())
