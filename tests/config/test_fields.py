"""Single values: what each type takes and how it refuses, with the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clb.config.loader import Reading
from clb.config.models import Config

# case: (document, faults)
VALUES = {
    "duration_range": ("node: {drain_timeout: 2d}", ["1:23: node.drain_timeout: is 2d; write 0s to 1d"]),
    "duration_without_unit": (
        "node: {drain_timeout: 30}",
        ['1:23: node.drain_timeout: is 30; write a duration with its unit, such as "30s"'],
    ),
    "duration_bool": (
        "node: {drain_timeout: true}",
        ['1:23: node.drain_timeout: is true; write a duration with its unit, such as "4s"'],
    ),
    "duration_unit": (
        "node: {drain_timeout: 30sec}",
        [
            '1:23: node.drain_timeout: is "30sec"; no unit of time is called "sec"; '
            'write ms, s, m, h or d, such as "30s"'
        ],
    ),
    "name": (
        "node: {name: '-x'}",
        ['1:14: node.name: "-x" is no name; write 1 to 80 of a-z A-Z 0-9 . _ -, a letter or digit first'],
    ),
    "name_is_a_number": (
        "node: {name: 12}",
        ['1:14: node.name: is 12, which is no text; write it in quotes: "12"'],
    ),
    "name_is_nothing": ("node: {name: }", ['1:14: node.name: has no value; write text such as "web-1"']),
    "name_is_a_list": ("node: {name: [a]}", ['1:14: node.name: is a list; write text such as "web-1"']),
    "port_quoted": (
        'admin: {port: "443"}',
        ['1:15: admin.port: is "443"; write a whole number from 1 to 65535 without quotes'],
    ),
    "port_range": ("admin: {port: 65536}", ["1:15: admin.port: is 65536; write a whole number from 1 to 65535"]),
    "port_decimal": ("admin: {port: 1.5}", ["1:15: admin.port: is 1.5; write a whole number from 1 to 65535"]),
    "port_octal": ("admin: {port: 0443}", None),
    "bool": ("admin: {metrics_open: yes}", ['1:23: admin.metrics_open: is "yes"; write true or false']),
    "address": (
        "admin: {address: localhost}",
        ['1:18: admin.address: "localhost" is not an IP address; write one such as "0.0.0.0" or "::"'],
    ),
    "workers": (
        "node: {workers: all}",
        ['1:17: node.workers: is "all"; write auto (one per core) or a whole number from 1 to 256'],
    ),
    "user": ("node: {user: Root!}", ['1:14: node.user: is "Root!"; write the name of a system user such as "clb"']),
    "file_empty": (
        "node: {state_dir: ''}",
        ['1:19: node.state_dir: is ""; write a file name such as "../certs/web.pem"'],
    ),
    "file_long": (f"node: {{state_dir: {'x' * 5000}}}", ["1:19: node.state_dir: is too long for a file name"]),
    "file_is_pem": (
        'node: {state_dir: "-----BEGIN PRIVATE KEY-----"}',
        ["1:19: node.state_dir: is the text of a PEM file; write the name of the file that holds it"],
    ),
    "log_file": (
        "node: {access_log: {path: 1}}",
        ['1:27: node.access_log.path: is 1; write a file name such as "../certs/web.pem"'],
    ),
    "choice": (
        "node: {access_log: {format: jason}}",
        ['1:29: node.access_log.format: is "jason"; write tencent, json or off (did you mean json?)'],
    ),
    "choice_of_text_by_number": (
        "node: {access_log: {format: 1}}",
        ["1:29: node.access_log.format: is 1; write tencent, json or off"],
    ),
    "label": (
        "load_balancers: [{labels: {a: 1}, listeners: []}]",
        ['1:31: load_balancers[0].labels.a: is 1, which is no text; write it in quotes: "1"'],
    ),
    "label_unprintable": (
        'load_balancers: [{labels: {a: "\\e"}, listeners: []}]',
        ["1:31: load_balancers[0].labels.a: write at most 1024 printable characters"],
    ),
    "label_name": (
        "load_balancers: [{labels: {'a b': x}, listeners: []}]",
        [
            '1:28: load_balancers[0].labels.a b: "a b" is no name; '
            "write 1 to 80 of a-z A-Z 0-9 . _ -, a letter or digit first"
        ],
    ),
    "webhook": (
        "notify: {webhook: example.com}",
        ['1:19: notify.webhook: is no URL; write one such as "https://hooks.example.com/clb"'],
    ),
    "store": (
        "store: {url: mysql://root:pw@db/x}",
        ['1:14: store.url: is no database; write "sqlite:///file.db" or "postgresql://user@host/name"'],
    ),
}
# case: (keys of a listener, faults)
LISTENER_VALUES = {
    "size_unit": (
        "limits: {body_bytes: 60MB}",
        [
            '9:30: limits.body_bytes: is "60MB"; no unit of size is called "MB"; '
            'write B, KiB, MiB, GiB or TiB, such as "60MiB"'
        ],
    ),
    "size_range": ("limits: {header_bytes: 1MiB}", ["9:32: limits.header_bytes: is 1MiB; write 1KiB to 256KiB"]),
    "size_bool": ("limits: {body_bytes: true}", ['9:30: limits.body_bytes: is true; write a size such as "64KiB"']),
    "size_number": ("limits: {body_bytes: 1000}", []),
    "network": (
        "trusted_proxies: [10.0.0.1/8]",
        ['9:27: trusted_proxies[0]: "10.0.0.1/8" has bits set behind its prefix; did you mean 10.0.0.0/8?'],
    ),
    "not_a_list": (
        "trusted_proxies: 10.0.0.0/8",
        ['9:26: trusted_proxies: is "10.0.0.0/8"; write a list ("- " before each item)'],
    ),
    "python_name_of_from": (
        "proxy_protocol: {trusted: [10.0.0.0/8]}",
        [
            "9:25: proxy_protocol.from: is missing; it has no default",
            "9:26: proxy_protocol.trusted: unknown key; the keys here are from",
        ],
    ),
}
RULE_VALUES = {
    "ratio": ("retry: {budget: 20%}", ['13:29: retry.budget: is "20%"; write a number from 0 to 1, such as 0.2']),
    "ratio_range": ("retry: {budget: 1.5}", ["13:29: retry.budget: is 1.5; write a number from 0 to 1, such as 0.2"]),
    "ratio_whole": ("retry: {budget: 1}", []),
    "code": (
        "health_check: {codes: [2xx, 600]}",
        ["13:41: health_check.codes[1]: is 600; write a class such as 2xx or a status such as 204"],
    ),
    "retry_cause": (
        "retry: {on: [connect, 404]}",
        ["13:35: retry.on[1]: is 404; write one of connect, closed, timeout, 500, 502, 503, 504"],
    ),
    "retry_causes": ("retry: {on: [connect, closed, timeout, 500, '502', 503]}", []),
    "code_number": ("health_check: {codes: [204]}", []),
    "cookie_name": (
        "session: {cookie_name: 'a;b'}",
        ['13:36: session.cookie_name: "a;b" is no cookie name; write 1 to 64 letters, digits, - or _'],
    ),
    "status": (
        "redirect: {status: 300, scheme: http}",
        [
            "13:13: redirect: stands beside targets; a rule has one of the two",
            "13:32: redirect.status: is 300; write 301, 302, 307 or 308",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), VALUES.values(), ids=VALUES)
def test_value(faults: Callable[[str], list[str]], text: str, expected: list[str] | None) -> None:
    found = faults(text)
    assert found == expected if expected is not None else len(found) == 1


@pytest.mark.parametrize(("text", "expected"), LISTENER_VALUES.values(), ids=LISTENER_VALUES)
def test_value_of_a_listener(listener_faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    found = listener_faults(f"{text}\ncertificate: web")
    assert [fault.replace("load_balancers[0].listeners[0].", "") for fault in found] == expected


@pytest.mark.parametrize(("text", "expected"), RULE_VALUES.values(), ids=RULE_VALUES)
def test_value_of_a_rule(rule_faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    rule = f"- domain: a.example\n  default: true\n  {text}\n  targets: []"
    found = rule_faults(rule)
    assert [fault.replace("load_balancers[0].listeners[0].rules[0].", "") for fault in found] == expected


def test_file_names_are_relative_to_the_file(reading: Callable[[str], Reading], tmp_path: Path) -> None:
    config = reading("node: {state_dir: ../run, access_log: {path: logs/a.log}}\nkeyring: {file: /etc/key}\n").config
    assert config is not None
    assert config.node.state_dir == tmp_path.parent / "run"
    assert config.node.access_log.path == tmp_path / "logs/a.log"
    assert config.keyring.file == Path("/etc/key")


def test_standard_output_is_no_file(reading: Callable[[str], Reading]) -> None:
    config = reading('node: {access_log: {path: "-"}}').config
    assert config is not None
    assert config.node.access_log.path == Path("-")


SECRETS = {
    "keyring_text": "keyring: {s}",
    "keyring_command_text": "keyring: {{command: {s}}}",
    "keyring_command": "keyring: {{command: [pass, {s}]}}\nnod: 1",
    "keyring_env": "keyring: {{env: '{s}'}}",
    "keyring_env_list": "keyring: {{env: ['{s}']}}",
    "notify_secret": "notify: {{webhook: ftp://x, secret: {s}}}",
    "notify_secret_in_webhook": "notify: {{webhook: '{s}'}}",
    "notify_text": "notify: {s}",
    "store": "store: {{url: 'mysql://u:{s}@x'}}",
    "store_text": "store: '{s}'",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_secrets_are_never_shown(faults: Callable[[str], list[str]], text: str) -> None:
    found = faults(text.format(s="hunter2 hunter2"))
    assert found
    assert "hunter2" not in "\n".join(found)


def test_secrets_are_not_in_the_text_of_a_config(reading: Callable[[str], Reading]) -> None:
    config = reading(
        "keyring: {command: [pass, hunter2]}\nnotify: {webhook: https://x, secret: hunter2}\n"
        "store: {url: 'postgresql://u:hunter2@x/y'}\n"
    ).config
    assert config is not None
    assert "hunter2" not in repr(config) + str(config) + repr(config.model_dump())
    assert config.notify.secret is not None
    assert config.notify.secret.get_secret_value() == "hunter2"


def test_a_config_can_be_made_of_its_own_values(reading: Callable[[str], Reading]) -> None:
    config = reading("keyring: {env: KEY}\nstore: {url: 'sqlite:///x'}\nnotify: {webhook: https://x, secret: s}").config
    assert config is not None
    again = Config(node=config.node, keyring=config.keyring, store=config.store, notify=config.notify)
    assert again == config
    values = {name: getattr(config.keyring, name) for name in ("file", "env", "command")}
    assert type(config.keyring).model_validate(values) == config.keyring
