"""`clb check`: summary and exit status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificate_lab import certificate, ec_key, pem, revocation_list
from rich.tree import Tree
from typer.testing import CliRunner

from clb.cli.check import plain, summary
from clb.cli.main import app
from clb.service.inspection import inspect_whole

NOW = datetime.now(UTC)
ENDS = NOW + timedelta(days=90, hours=1)
KEY, ROOT_KEY = ec_key("web"), ec_key("root")

DOCUMENT = """\
node: {name: n1, region: here, state_dir: run}
admin: {port: 9444}
certificates:
  web: {type: server, certificate: web.pem, private_key: web.key}
  root: {type: ca, certificate: root.pem}
load_balancers:
  - name: shop
    listeners:
      - name: front
        address: "::"
        certificate: web
        ssl_mode: mutual
        ca_certificate: root
        crl: root.crl
        rules:
          - domain: shop.example
            default: true
            targets: [{address: 10.0.0.1, port: 80}, {address: "fd00::1", port: 81, weight: 0}]
          - {domain: shop.example, url: =/old, redirect: {status: 308, path: /new}}
          - {domain: shop.example, url: /b, redirect: {host: b.example, port: 81, scheme: http, keep_path: false}}
      - {name: plain, protocol: http, port: 8080, rules: [{domain: x.example, default: true, targets: []}]}
  - {name: away, region: [far, farther], listeners: [{certificate: web}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    leaf = certificate("web", KEY, ("root", ROOT_KEY), names=("shop.example",), begins=NOW - timedelta(1), ends=ENDS)
    (tmp_path / "web.pem").write_bytes(pem(leaf))
    (tmp_path / "web.key").write_bytes(pem(KEY))
    (tmp_path / "web.key").chmod(0o600)
    (tmp_path / "root.pem").write_bytes(
        pem(certificate("root", ROOT_KEY, ca=True, begins=NOW - timedelta(1), ends=ENDS))
    )
    revocations = revocation_list("root", ROOT_KEY, begins=NOW - timedelta(1), ends=ENDS)
    (tmp_path / "root.crl").write_bytes(pem(revocations))
    file = tmp_path / "clb.yaml"
    file.write_text(DOCUMENT)
    return file


def test_the_summary_of_a_sound_configuration(config: Path) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert result.exit_code == 0
    assert (
        result.stdout.splitlines()
        == [
            f"node n1, region here, state in {config.parent}/run",
            "  load balancer shop",
            "    listener front: https://[::]/",
            "      tls: policy documented, mutual, client certificate required, by root, revocation list",
            f"      certificate web: ECDSA for shop.example, until {ENDS:%Y-%m-%d} (90 days left)",
            "      rule shop.example / (default): wrr to 10.0.0.1:80 weight 10, [fd00::1]:81 weight 0",
            "      rule shop.example =/old: redirect 308 to (same scheme)://(same host)/new",
            "      rule shop.example /b: redirect 301 to http://b.example:81/",
            "    listener plain: http://0.0.0.0:8080/",
            "      rule x.example / (default): wrr to nobody",
            "  load balancer away (not here: region far, farther)",
            "management https://127.0.0.1:9444",
            f"{config}: sound, 2 warnings",
        ]
        or result.stdout.splitlines()[-2] == "  management https://127.0.0.1:9444"
    )
    assert result.stderr.splitlines() == [
        f"warning: {config}:21:103: load_balancers[0].listeners[1].rules[0].targets: "
        "no targets: every request gets 503",
        f"warning: {config}:22:54: load_balancers[1].listeners[0].rules: no rules: every request gets 404",
    ]


def test_every_fault_is_on_standard_error(config: Path) -> None:
    config.write_text(DOCUMENT.replace("port: 8080", "port: 808080"))
    (config.parent / "web.key").write_bytes(pem(ROOT_KEY))
    result = CliRunner().invoke(app, ["check", "-c", str(config)])
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert [line.partition(": ")[0] for line in lines] == [f"{config}:4:58", f"{config}:21:45", "2 errors"]
    assert "PRIVATE KEY" not in result.stderr


def test_one_error_is_counted_as_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", "-c", str(tmp_path / "nowhere.yaml")])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{tmp_path}/nowhere.yaml:1:1: cannot be read: no such file or directory",
        "1 error",
    ]


def shown(config: Path, now: datetime) -> Tree:
    whole = inspect_whole(config, may_prepare=False)
    assert whole.merged is not None
    return summary(whole.merged.config, whole.facts, now)


def test_long_lists_are_cut(config: Path) -> None:
    targets = ", ".join(f"{{address: 10.0.0.{number}, port: 80}}" for number in range(8))
    rules = "".join(f"          - {{domain: d{number}.example, targets: [{targets}]}}\n" for number in range(30))
    config.write_text(DOCUMENT.replace("      - {name: plain", f"{rules}      - {{name: plain"))
    lines = list(plain(shown(config, NOW)))
    assert "      and 13 more rules" in lines
    assert any(line.endswith("10.0.0.5:80 weight 10 and 2 more") for line in lines)


def test_an_expired_certificate_stands_out(config: Path) -> None:
    lines = list(plain(shown(config, ENDS + timedelta(1))))
    assert any(line.endswith("(EXPIRED)") for line in lines)


def test_a_terminal_gets_a_tree(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(SystemExit) as caught:
        app(["check", "-c", str(config)])
    assert caught.value.code == 0
    assert "└── " in capsys.readouterr().out
