"""What a write changes of an outline, as a file: read beside the old one it gives the new one, and shares the rest."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from clb.config.models import Config, Listener, LoadBalancer, Rule
from clb.service.bundle import Outline, StoredCertificate
from clb.service.outline_changes import apply_in_steps, write_changes
from clb.service.outline_parts import differences
from clb.service.row_keys import row_keys
from clb.service.steps import at_once

RULES = [
    Rule.model_validate({"domain": f"r{n}.example.com", "targets": ({"address": "10.0.0.1", "port": 80 + n},)})
    for n in range(8)
]
LISTENER = Listener.model_validate({"port": 80, "protocol": "http"})


def outline(*balancers, **parts):
    config = Config(load_balancers=tuple(balancers))
    rows = {"node": 0, **{key: number for number, key in enumerate(row_keys(config), 1)}}
    return Outline(1, config, {}, {}, {}, {}, rows, **parts)


def balancer(name, *listeners):
    made = [
        LISTENER.model_copy(update={"name": f"l{number}", "port": 80 + number, "rules": tuple(rules)})
        for number, rules in enumerate(listeners)
    ]
    return LoadBalancer(name=name, listeners=tuple(made))


def carried_over(old, new):
    memory = write_changes(old, new)
    try:
        size = os.fstat(memory).st_size
        return at_once(apply_in_steps(old, memory)), size
    finally:
        os.close(memory)


def test_one_target_costs_what_one_rule_does():
    rules = [RULES[0].model_copy(update={"domain": f"d{number}"}) for number in range(2000)]
    old = outline(balancer("one", rules), balancer("two", RULES))
    more = rules[7].model_copy(update={"targets": (*rules[7].targets, RULES[3].targets[0])})
    listener = old.config.load_balancers[0].listeners[0]
    changed = listener.model_copy(update={"rules": (*rules[:7], more, *rules[8:])})
    first = old.config.load_balancers[0].model_copy(update={"listeners": (changed,)})
    config = old.config.model_copy(update={"load_balancers": (first, old.config.load_balancers[1])})
    new = replace(old, config=config, revision=2, rows={**old.rows, "k": 9999})
    read, size = carried_over(old, new)
    assert read == new
    assert size < 20_000
    assert read.config.load_balancers[1] is old.config.load_balancers[1]
    kept = [a is b for a, b in zip(read.config.load_balancers[0].listeners[0].rules, rules, strict=True)]
    assert kept == [number != 7 for number in range(2000)]


def test_mappings_lose_and_get_entries():
    old = outline(stored_certificates={"a": StoredCertificate("cert-1", 1), "b": StoredCertificate("cert-2", 1)})
    new = replace(old, stored_certificates={"b": StoredCertificate("cert-2", 2)}, quarantined={"a": "damaged"})
    read, _ = carried_over(old, new)
    assert read == new
    assert read.rows is old.rows


sites = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.lists(st.sampled_from(RULES), unique_by=id), max_size=3)),
    unique_by=lambda each: each[0],
    max_size=3,
)


def shared(old, site):
    """A site of new objects, but for listeners and load balancers that are as they were."""
    known = {each.name: each for each in old.config.load_balancers}
    made = []
    for name, listeners in site:
        new, was = balancer(name, *listeners), known.get(name)
        if was is not None:
            kept = [next((each for each in was.listeners if each == one), one) for one in new.listeners]
            new = was if new == was else new.model_copy(update={"listeners": tuple(kept)})
        made.append(new)
    return made


@given(sites, sites)
def test_any_site_becomes_any_other(before, after):
    old = outline(*(balancer(name, *listeners) for name, listeners in before))
    new = replace(outline(*shared(old, after)), rows=old.rows)
    read, _ = carried_over(old, new)
    assert read == new


@given(sites, sites)
def test_rows_that_come_and_go(before, after):
    old = outline(*(balancer(name, *listeners) for name, listeners in before))
    new = outline(*shared(old, after))
    found = differences(old.config, new.config)
    had, has = set(old.rows), set(new.rows)
    # A key of a rule that is another object now may be told of though it stays.
    assert has - had <= set(found.new_rows) <= has
    assert had - has <= set(found.gone_rows) <= had
    assert (had - set(found.gone_rows)) | set(found.new_rows) == has
