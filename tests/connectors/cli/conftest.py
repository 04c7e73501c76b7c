import sys

import pytest

from connectors.cli import main


@pytest.fixture
def vitals(capsys, monkeypatch, tmp_path):
    """Runs `vitals ARGUMENTS` in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vitals", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def nowhere(monkeypatch):
    """Settings that name servers which do not exist: port 1 is nobody's."""
    monkeypatch.setenv("VITALS_NATS__URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("VITALS_QUESTDB__HTTP_URL", "http://127.0.0.1:1")
