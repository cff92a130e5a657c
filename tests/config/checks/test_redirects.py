"""Chains and loops of redirects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

HTTP = "  - {{name: h, {region_key}listeners: [{{name: http, protocol: http, port: 80, rules: [{rules}]}}]}}\n"
HTTPS = "  - {{name: s, listeners: [{{name: https, certificate: web, rules: [{rules}]}}]}}\n"
HEAD = "certificates:\n  web: {type: server, certificate: w, private_key: k}\nload_balancers:\n"
TO_HTTPS = "{domain: a.example, default: true, redirect: {scheme: https}}"
SERVED = "{domain: a.example, default: true, targets: []}"


def document(http: str, https: str = SERVED, region: str = "") -> str:
    region_key = f"region: {region}, " if region else ""
    return HEAD + HTTP.format(rules=http, region_key=region_key) + HTTPS.format(rules=https)


def rule(domain: str, redirect: str, url: str = "/", more: str = "") -> str:
    return f"{{domain: '{domain}', url: '{url}', {more}redirect: {{{redirect}}}}}"


CATCH_ALL = "{domain: z.example, default: true, targets: []}"
# case: (document, what the faults say)
CASES = {
    "http_to_https": (document(TO_HTTPS), []),
    "to_another_machine": (document(rule("a.example", "host: www.other.example", more="default: true, ")), []),
    "to_another_port": (document(rule("a.example", "port: 81", more="default: true, ")), []),
    "to_itself": (
        document(rule("a.example", "status: 302, path: /x", more="default: true, ")),
        ["leads back to itself (http://a.example/x), a loop; change its host, port or path"],
    ),
    "to_itself_by_name": (
        document(f"{rule('a.example', 'host: A.example')}, {CATCH_ALL}"),
        ["leads back to itself (http://a.example/), a loop"],
    ),
    "to_itself_by_scheme": (
        document(TO_HTTPS, rule("a.example", "scheme: https, keep_path: false", more="default: true, ")),
        ["leads to https://a.example/, which load_balancers[1]", "leads back to itself (https://a.example/), a loop"],
    ),
    "nowhere": (
        document(rule("a.example", "status: 301", more="default: true, ")),
        ["leads nowhere; give scheme, host, port or path"],
    ),
    "nowhere_but_root": (
        document(rule("a.example", "keep_path: false", more="default: true, ")),
        ["leads nowhere; give scheme, host, port or path"],
    ),
    "chain": (
        document(TO_HTTPS, f"{rule('a.example', 'host: b.example')}, {CATCH_ALL}"),
        [
            "leads to https://a.example/, which load_balancers[1].listeners[0].rules[0] redirects on; "
            "send the client to the last destination at once"
        ],
    ),
    "chain_by_wildcard": (
        document(TO_HTTPS, f"{rule('*.example', 'host: b.org')}, {CATCH_ALL}"),
        ["leads to https://a.example/, which"],
    ),
    "chain_by_trailing_wildcard": (
        document(TO_HTTPS, f"{rule('a.*', 'host: b.org')}, {CATCH_ALL}"),
        ["leads to https://a.example/, which"],
    ),
    "chain_by_regex": (
        document(TO_HTTPS, f"{rule('~^a', 'host: b.org')}, {CATCH_ALL}"),
        ["leads to https://a.example/, which"],
    ),
    "chain_by_default": (
        document(TO_HTTPS, rule("q.example", "host: b.org", more="default: true, ")),
        ["leads to https://a.example/, which"],
    ),
    "chain_of_other_hosts": (
        document(
            TO_HTTPS,
            f"{SERVED.replace('default: true, ', '')}, {rule('q.example', 'host: b.org', more='default: true, ')}",
        ),
        ["leads to https://clb-sample.invalid/, which"],
    ),
    "chain_by_exact_url": (
        document(
            f"{rule('a.example', 'scheme: https', '=/old')}, {CATCH_ALL}",
            f"{SERVED}, {rule('a.example', 'path: /new', '=/old')}",
        ),
        ["leads to https://a.example/old, which"],
    ),
    "chain_by_url_regex": (
        document(
            f"{rule('a.example', 'scheme: https, path: /OLD.png')}, {CATCH_ALL}",
            f"{SERVED}, {rule('a.example', 'path: /new', '~*[.]png$')}",
        ),
        ["leads to https://a.example/OLD.png, which"],
    ),
    "served_by_longer_prefix": (
        document(
            f"{rule('a.example', 'scheme: https', '/new')}, {CATCH_ALL}",
            f"{SERVED.replace('targets', 'url: /new, targets')}, {rule('a.example', 'path: /new/x', '/')}",
        ),
        [],
    ),
    "no_rule_for_the_url": (
        document(
            f"{rule('a.example', 'scheme: https', '/new')}, {CATCH_ALL}", SERVED.replace("targets", "url: /x, targets")
        ),
        [],
    ),
    "wildcard_to_wildcard": (
        document(f"{rule('*.x.org', 'scheme: https')}, {CATCH_ALL}", f"{SERVED}, {rule('*.x.org', 'host: b.org')}"),
        ["leads to https://clb-sample.x.org/, which"],
    ),
    "nobody_knows_where_a_regex_leads": (
        document(f"{rule('~^a', 'scheme: https')}, {rule('a.example', 'scheme: https', '~^/x')}, {CATCH_ALL}"),
        [],
    ),
    "in_another_region": (
        document(TO_HTTPS, f"{rule('a.example', 'host: b.example')}, {CATCH_ALL}", region="far"),
        [],
    ),
    "told_once_for_two_regions": (
        document(rule("a.example", "path: /x", more="default: true, "), region="[far, farther]"),
        ["leads back to itself"],
    ),
    "broken_patterns_are_told_once": (
        document(
            TO_HTTPS,
            f"{rule('~(', 'host: b.org')}, {rule('b.org', 'host: c.org', '~(')}, {{default: true, targets: []}}",
        ),
        ['"(" is not a regular expression', '"(" is not a regular expression', "is missing; it has no default"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_redirects(faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    found = faults(text)
    assert len(found) == len(expected), found
    assert all(words in fault for words, fault in zip(expected, found, strict=True)), found


def test_the_fault_stands_at_the_redirect(faults: Callable[[str], list[str]]) -> None:
    text = document(rule("a.example", "path: /x", more="default: true, "))
    assert faults(text)[0].startswith("4:121: load_balancers[0].listeners[0].rules[0].redirect: leads back")
