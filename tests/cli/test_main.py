"""The command itself."""

from __future__ import annotations

import subprocess
import sys

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


def test_a_word_that_is_no_command() -> None:
    result = CliRunner().invoke(app, ["statsu"])
    assert result.exit_code == 2
    assert "No such command" in result.output


HEAVY = ("clb.config.models", "fastapi", "uvicorn", "prometheus_client", "cryptography", "httpx", "uvloop", "rich.live")
"""What a question to a running node must not wait for."""


def test_questions_import_little() -> None:
    code = (
        "import sys; from clb.cli.main import app; from typer.testing import CliRunner;"
        "CliRunner().invoke(app, ['status', '--socket', '/nowhere']);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
