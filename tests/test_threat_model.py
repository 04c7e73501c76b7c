"""Every mitigation of docs/threat-model.md has a test beside it that is there."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (REPO / "docs/threat-model.md").read_text().splitlines()
    if re.match(r"\| [STRIDE] \|", line)
]
NAMED = re.compile(r"`(?:(?P<file>[\w/]+\.py))?(?:::)?(?P<test>test_\w+)?`")


def functions(file):
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_kind_of_threat_has_rows():
    assert {row[0] for row in ROWS} == set("STRIDE")
    assert all(len(row) == 4 for row in ROWS), [row for row in ROWS if len(row) != 4]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_a_mitigation_names_tests_that_are_there(row):
    file, found = None, 0
    for named in NAMED.finditer(row[3]):
        if named["file"]:
            file = (
                REPO / named["file"]
                if named["file"].startswith("tests/")
                else REPO / "tests/connectors" / named["file"]
            )
            assert any(name.startswith("test_") for name in functions(file)), file
        if named["test"]:
            assert file is not None, named[0]
            assert named["test"] in functions(file), f"{file}: {named['test']}"
        found += bool(named["file"] or named["test"])
    assert found
