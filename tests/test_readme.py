"""The README keeps its word: two commands first, code that runs, links that lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def test_the_first_code_block_holds_two_commands_that_call_recipes():
    language, block = BLOCKS[0]
    lines = block.strip().splitlines()
    assert language == "sh"
    assert [re.search(r"bin/just (\w+)", line).group(1) for line in lines] == ["demo", "ci"]
    assert len(TEXT[: TEXT.index(block)].splitlines()) < 10, "the commands belong on the first screen"


def test_the_second_command_is_what_ci_runs():
    assert "just ci" in (ROOT / ".ci" / "run").read_text()


def test_the_python_in_it_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    programs = [block for language, block in BLOCKS if language == "python"]
    assert programs
    for program in programs:
        exec(compile(program, "README.md", "exec"), {})  # noqa: S102  (our own words)


def test_every_link_leads_to_a_file_of_the_project():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_every_command_it_names_exists():
    from connectors.cli.app import app

    known = {entry.name for entry in (*app.registered_commands, *app.registered_groups)}
    assert set(re.findall(r"`vitals (\w+)", TEXT)) <= known
