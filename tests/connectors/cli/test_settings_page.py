"""The settings page is what the settings are, and the command says what is in force."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.cli.app import app
from connectors.cli.settings_page import markdown, settings_of
from dataflows.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_current():
    assert (ROOT / "docs" / "settings.md").read_text() == markdown(), "run `just docs`"


def test_every_setting_is_described():
    for setting in settings_of(Settings.model_construct()):
        assert setting.field.description, setting.variable
        assert f"`{setting.variable}`" in markdown()


def test_the_page_does_not_depend_on_this_environment(monkeypatch):
    monkeypatch.setenv("VITALS_STREAMS__PARTITIONS", "many")
    assert "`8`" in markdown()


@pytest.fixture
def in_force(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "vitals.toml"
    file.write_text('[streams]\npartitions = 4\n[questdb]\npassword = "in the file"\n')
    monkeypatch.setenv("VITALS_CONFIG", str(file))
    monkeypatch.setenv("VITALS_NATS__PASSWORD", "in the environment")
    monkeypatch.setenv("VITALS_QUESTDB__PG_DSN", "host=db password=hunter2")
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 0
    return {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}


def test_the_command_says_what_is_in_force_and_why(in_force):
    assert in_force["streams.partitions"] == ["4", "file"]
    assert in_force["flow.reorder_s"] == ["2.0", "default"]


def test_the_command_hides_secrets(in_force):
    assert in_force["nats.password"] == ["********", "environment"]
    assert in_force["questdb.password"] == ["********", "file"]
    assert in_force["questdb.pg_dsn"] == ["host=db", "password=********", "environment"]
