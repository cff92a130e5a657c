"""The OpenAPI document: what a program, or somebody who writes one, needs of every operation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from control_lab import Lab
from pydantic import BaseModel

from clb.control import (
    access_models,
    certificate_models,
    explanation_models,
    models,
    object_models,
    usage_models,
    write_requests,
)
from clb.control.access import OPEN_PATHS
from clb.control.answer_examples import EXAMPLES

PLACES = (
    access_models, certificate_models, explanation_models, models, object_models, usage_models, write_requests,
)  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = Lab(tmp_path_factory.mktemp("openapi")).get("/v1/openapi.json")
    return found


def operations(document):
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield f"{method.upper()} {path}", operation


def has_example(document, shape) -> bool:
    if "$ref" in shape:
        return has_example(document, document["components"]["schemas"][shape["$ref"].rpartition("/")[2]])
    parts = shape.get("anyOf", [])
    return "examples" in shape or "example" in shape or any(has_example(document, part) for part in parts)


def test_every_operation_is_described_and_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names)) > 50
    bare = [name for name, each in operations(document) if not each.get("summary") or not each.get("description")]
    assert bare == []


def test_every_body_and_every_answer_has_an_example(document):
    missing = []
    for name, operation in operations(document):
        contents = [("body", each) for each in operation.get("requestBody", {}).get("content", {}).values()]
        contents += [
            (status, each)
            for status, response in operation["responses"].items()
            for kind, each in response.get("content", {}).items()
            if kind != "text/plain"
        ]
        missing += [
            (name, what)
            for what, each in contents
            if "example" not in each and not has_example(document, each["schema"])
        ]
    # The metrics are Prometheus' own form.
    assert [each for each in missing if each[0] != "GET /metrics"] == []


def test_every_fault_is_a_problem_and_every_operation_says_which(document):
    for name, operation in operations(document):
        statuses = set(operation["responses"])
        assert {"400", "503"} <= statuses, name
        if name.partition(" ")[2] not in OPEN_PATHS:
            assert {"401", "403", "421", "429"} <= statuses, name
        for status, response in operation["responses"].items():
            if status >= "400" and name != "GET /readyz":
                assert "application/problem+json" in response["content"], (name, status)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_their_models_take(document, name):
    assert name in document["components"]["schemas"]
    model = next(found for place in PLACES if isinstance(found := getattr(place, name, None), type))
    assert issubclass(model, BaseModel)
    model.model_validate_json(json.dumps(EXAMPLES[name]))
