"""`clb serve`: what it prints and with which status it ends when it cannot start."""

from __future__ import annotations

import subprocess

import pytest
from clb_process import COMMAND, write_site


def run(*arguments):
    return subprocess.run([*COMMAND, "serve", *arguments], capture_output=True, text=True, timeout=30)


def test_a_fault_in_the_file_is_status_1_with_its_place(tmp_path):
    file = tmp_path / "clb.yaml"
    file.write_text("load_balancers:\n  - name: x\n    listners: []\n")
    ended = run("--config", str(file))
    assert ended.returncode == 1
    assert f"{file}:3:5: load_balancers[0].listners" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_not_there_is_status_1(tmp_path):
    ended = run("--config", str(tmp_path / "nothing.yaml"))
    assert ended.returncode == 1
    assert "nothing.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_certificate_that_is_not_there_is_status_1(material, tmp_path, real_server):
    file = tmp_path / "clb.yaml"
    write_site(material, file, targets=[real_server.port])
    file.write_text(file.read_text().replace(str(material.certificate), str(tmp_path / "gone.pem")))
    ended = run("--config", str(file))
    assert ended.returncode == 1
    assert "gone.pem" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_status_2(material, tmp_path, real_server):
    file = tmp_path / "clb.yaml"
    ports = write_site(material, file, protocol="http", targets=[real_server.port])
    file.write_text(file.read_text().replace(f"port: {ports['http']}\n", f"port: {real_server.port}\n"))
    ended = run("--config", str(file))
    assert ended.returncode == 2
    assert f"clb: listener lb/http: 127.0.0.1:{real_server.port} cannot be bound: " in ended.stderr
    assert "Traceback" not in ended.stderr


START_FAULTS = {
    "state_directory": ({"state_dir": "{directory}/file/state"}, "Not a directory"),
    "access_log": ({"access_log": {"path": "{directory}/nowhere/access.log"}}, "No such file"),
}


@pytest.mark.parametrize(("node", "text"), START_FAULTS.values(), ids=START_FAULTS)
def test_what_cannot_be_written_is_status_2(material, tmp_path, real_server, node, text):
    file = tmp_path / "clb.yaml"
    (tmp_path / "file").write_text("")
    write_site(material, file, node=node, targets=[real_server.port])
    file.write_text(file.read_text().replace("{directory}", str(tmp_path)).replace("'", ""))
    ended = run("--config", str(file))
    assert ended.returncode == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_cookie_key_that_is_none_is_status_2(material, tmp_path, real_server):
    file = tmp_path / "clb.yaml"
    write_site(material, file, targets=[real_server.port])
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cookie.key").write_bytes(b"short")
    ended = run("--config", str(file))
    assert ended.returncode == 2
    assert "cookie.key: 5 bytes, expected 32" in ended.stderr


def test_the_configuration_must_be_named():
    ended = run()
    assert ended.returncode == 2
    assert "--config" in ended.stderr
