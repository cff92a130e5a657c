from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


def in_shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Source _venv.sh and run one of its functions; programs in `folder` come first in PATH."""
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; source {shlex.quote(str(SCRIPTS / '_venv.sh'))}; {command}"],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
    )


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_python_that_the_environment_names_is_taken(tmp_path: Path) -> None:
    result = in_shell("find_python", tmp_path, PYTHON=sys.executable)
    assert result.stdout.strip() == sys.executable


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old = program(tmp_path, "python-old", "exit 1")
    result = in_shell("find_python", tmp_path, PYTHON=str(old))
    assert result.returncode == 1
    assert "3.11 or newer" in result.stderr


def test_without_any_python_it_says_what_to_install(tmp_path: Path) -> None:
    for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
        program(tmp_path, name, "exit 1")
    result = in_shell("DISTRIBUTION_PYTHON=python3.11; find_python", tmp_path)
    assert result.returncode == 1
    assert "apt-get install python3 python3-venv" in result.stderr


def python_without_ensurepip(folder: Path) -> Path:
    return program(folder, "python-bare", 'case "$2" in *ensurepip*) exit 1 ;; *) echo 3.11 ;; esac')


def test_without_ensurepip_a_plain_user_is_told_the_package(tmp_path: Path) -> None:
    python = python_without_ensurepip(tmp_path)
    program(tmp_path, "id", "echo 1000")
    result = in_shell(f"ensure_venv_module {python}", tmp_path)
    assert result.returncode == 1
    assert "sudo apt-get install python3.11-venv" in result.stderr


def test_without_ensurepip_root_installs_the_package(tmp_path: Path) -> None:
    python = python_without_ensurepip(tmp_path)
    program(tmp_path, "id", "echo 0")
    program(tmp_path, "apt-get", f'echo "$@" >>{tmp_path}/apt-calls')
    assert in_shell(f"ensure_venv_module {python}", tmp_path).returncode == 0
    assert (tmp_path / "apt-calls").read_text() == "update -qq\ninstall -qq -y python3.11-venv\n"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_scripts_are_clean() -> None:
    shell = re.compile(rb"#!/usr/bin/env bash|# shellcheck shell=bash")
    candidates = [*SCRIPTS.iterdir(), ROOT / ".ci" / "run"]
    files = [path for path in candidates if path.is_file() and shell.match(path.read_bytes())]
    assert {"_venv.sh", "check", "run", "test"} <= {path.name for path in files}
    result = subprocess.run(["shellcheck", "-x", *files], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == ""
