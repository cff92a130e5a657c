"""The reference in docs/configuration.md has every key, with the default that the models have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from clb.certificates.faults import CODES
from clb.config import models
from clb.units import format_duration, format_size

REFERENCE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in REFERENCE.splitlines() if line[:1] == "|"]

# Where a table holds several models, the rows of each begin with its key.
PREFIXES = {
    "AccessLog": "access_log.",
    "KeyPair": "tls.",
    "Store": "store.",
    "Keyring": "keyring.",
    "Notify": "notify.",
    "Ledger": "ledger.",
    "NodeLimits": "limits.",
    "ProxyProtocol": "proxy_protocol.",
    "HashOn": "hash_on.",
}
# Defaults that depend on something, said in words.
IN_WORDS = {
    ("Node", "region"): "`local`",
    ("Node", "name"): "the host name",
    ("Config", "certificates"): "empty",
    ("Config", "load_balancers"): "empty",
    ("LoadBalancer", "name"): "`lb-1`, `lb-2`, ... by position",
    ("LoadBalancer", "region"): "the node's",
    ("Listener", "name"): "protocol and port, `https-443`",
    ("Retry", "on"): "`[connect, closed]`",
    ("HealthCheck", "codes"): "`[2xx, 3xx, 4xx]`",
}
FIELDS = [
    (name, field.alias or key) for name in models.__all__ for key, field in getattr(models, name).model_fields.items()
]


def rows(model: str, key: str) -> list[list[str]]:
    wanted = f"`{PREFIXES.get(model, '')}{key}`"
    return [row for row in ROWS if wanted in row[0].split(", ")]


def default_in_words(model: str, key: str) -> set[str]:
    if (model, key) in IN_WORDS:
        return {IN_WORDS[model, key]}
    fields = getattr(models, model).model_fields
    default = next(field for name, field in fields.items() if (field.alias or name) == key).get_default(
        call_default_factory=True, validated_data={}
    )
    if default is PydanticUndefined:
        return {"required"}
    if isinstance(default, BaseModel):
        return {"all defaults"}
    if default is None:
        return {"none"}
    if default in ((), {}):
        return {"empty"}
    if isinstance(default, bool):
        return {f"`{str(default).lower()}`"}
    texts = {f"`{default}`"}
    if isinstance(default, float):
        texts |= {f"`{format_duration(default)}`", f"`{default:.0f}s`"}
    if isinstance(default, int):
        texts |= {f"`{format_size(default)}`"}
    return texts


@pytest.mark.parametrize(("model", "key"), FIELDS, ids=[f"{model}.{key}" for model, key in FIELDS])
def test_every_key_is_there_with_its_default(model: str, key: str) -> None:
    found = rows(model, key)
    assert found, f"{model}.{key} is not in the reference"
    assert default_in_words(model, key) & {row[2] for row in found}, found


def test_every_row_is_of_a_key() -> None:
    known = {f"{PREFIXES.get(model, '')}{key}" for model, key in FIELDS}
    names = {name for row in ROWS if len(row) == 4 for name in re.findall(r"`([^`]+)`", row[0])}
    assert names <= known | set(CODES)


def test_every_code_is_there() -> None:
    told = {name for row in ROWS if len(row) == 2 for name in re.findall(r"`([^`]+)`", row[0])}
    assert told == set(CODES)
