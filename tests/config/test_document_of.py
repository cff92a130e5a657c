"""Models written back as documents: what is read from them again is equal, and no secret is in them."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from clb.config.document_of import document_of
from clb.config.loader import load
from clb.config.models import RateLimit, Timeouts
from clb.units import format_rate, parse_duration, parse_rate

EXAMPLES = Path(__file__).parents[2] / "config"


def test_the_full_example_comes_back(tmp_path):
    config = load(EXAMPLES / "full.yaml")
    document = document_of(config)
    assert "url" not in document["store"]
    assert "secret" not in document["notify"]
    assert "env" not in document.get("keyring", {})
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(document))
    parts = ("node", "admin", "certificates", "load_balancers")
    read = load(again)
    for part in parts:
        assert getattr(read, part) == getattr(config, part)


@given(st.integers(min_value=100, max_value=3_600_000).map(lambda milliseconds: milliseconds / 1000))
def test_durations_come_back(seconds):
    timeouts = Timeouts.model_construct(_fields_set={"client_header"}, client_header=seconds)
    assert parse_duration(document_of(timeouts)["client_header"]) == seconds


@given(st.integers(min_value=1, max_value=1000), st.sampled_from("smh"))
def test_rates_come_back(number, unit):
    limit = RateLimit.model_validate({"rate": f"{number}/{unit}"})
    assert parse_rate(document_of(limit)["rate"]) == limit.rate
    assert document_of(limit) == {"rate": format_rate(limit.rate)}
