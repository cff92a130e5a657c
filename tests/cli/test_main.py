"""The command itself."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from clb import __version__
from clb.cli.main import app, main


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"clb {__version__}\n")


def test_help_names_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.output for command in ("serve", "check", "tls"))


def test_tracebacks_show_no_locals() -> None:
    assert app.pretty_exceptions_show_locals is False


def test_main_takes_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["clb", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"clb {__version__}\n"
