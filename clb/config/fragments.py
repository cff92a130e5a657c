"""A load balancer, listener, rule or target alone, as the API takes it: checked, and made a model.

Owns:      the form of such a document, and every check that it can be given without its neighbours.
Elsewhere: what all of them say together (service/merging.py); whole files (loader.py).
Pure:      plain data in, problems or a model out; the path of a problem begins at the document's own keys.

A document has the keys of the configuration file, but for those that hold what stands below it: a load balancer comes
without `listeners`, a listener without `rules`, a rule without `targets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from clb.config.checks.limits import check_limits
from clb.config.checks.listeners import check_listener as check_listener_keys
from clb.config.checks.rules import check_rule as check_rule_keys
from clb.config.checks.view import View
from clb.config.faults import Problem
from clb.config.fields import FrozenModel
from clb.config.models import Listener, LoadBalancer, Rule, Target
from clb.config.translate import translate

Document = Mapping[str, Any]
_Model = TypeVar("_Model", bound=FrozenModel)

_NOTHING: Document = {}


class FragmentFault(Exception):
    """The document is not sound."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in self.problems))


def check_load_balancer(document: Document) -> list[Problem]:
    """Every problem and warning of a load balancer's own keys."""
    own = _without(document, "listeners", "stored")
    return [*_model_problems(LoadBalancer, own), *_balancer_problems(document)]


def check_listener(document: Document) -> list[Problem]:
    """Every problem and warning of a listener's own keys."""
    return [*_model_problems(Listener, _without(document, "rules")), *_listener_problems(document)]


def check_rule(document: Document, listener: Document = _NOTHING, targets: Iterable[Document] = ()) -> list[Problem]:
    """Every problem and warning of a rule of a listener, with its targets."""
    whole = rule_document(document, targets)
    return [*_model_problems(Rule, whole), *_rule_problems(document, whole, listener)]


def check_target(document: Document) -> list[Problem]:
    """Every problem of a target."""
    return _model_problems(Target, document)


def parse_load_balancer(document: Document) -> LoadBalancer:
    """Make the model, without listeners.

    Raises:
        FragmentFault: the document is not sound.
    """
    return _parsed(LoadBalancer, _without(document, "listeners", "stored"), _balancer_problems(document))


def parse_listener(document: Document) -> Listener:
    """Make the model, without rules; raises as `parse_load_balancer` does."""
    return _parsed(Listener, _without(document, "rules"), _listener_problems(document))


def parse_rule(document: Document, listener: Document, targets: Iterable[Document]) -> Rule:
    """Make the model; raises as `parse_load_balancer` does."""
    whole = rule_document(document, targets)
    return _parsed(Rule, whole, _rule_problems(document, whole, listener))


def _balancer_problems(document: Document) -> Iterator[Problem]:
    return _foreign(document, "listeners", "stored")


def _listener_problems(document: Document) -> Iterator[Problem]:
    view = View(document, ())
    yield from _foreign(document, "rules", "crl")
    yield from check_listener_keys(view)
    yield from check_limits(view)


def _rule_problems(document: Document, whole: Document, listener: Document) -> Iterator[Problem]:
    view = View(whole, ())
    yield from _foreign(document, "targets")
    yield from check_rule_keys(view, View(listener, ()))
    yield from check_limits(view)


def rule_document(document: Document, targets: Iterable[Document]) -> Document:
    """A rule as a configuration file has it: one that does not redirect has targets, be it none."""
    found = tuple(targets)
    if document.get("redirect") is not None and not found:
        return _without(document, "targets")
    return {**document, "targets": found}


def _without(document: Document, *keys: str) -> Document:
    return {name: value for name, value in document.items() if name not in keys}


def _foreign(document: Document, *keys: str) -> Iterator[Problem]:
    for key in keys:
        if key in document:
            yield Problem((key,), _FOREIGN[key], "key")


_FOREIGN = {
    "listeners": "is not a key here: listeners are made below their load balancer",
    "rules": "is not a key here: rules are made below their listener",
    "targets": "is not a key here: targets are made below their rule",
    "stored": "is a key of the configuration file only",
    "crl": "names a file of one machine; a listener with a revocation list belongs in the configuration file",
}


def _model_problems(model: type[FrozenModel], document: Document) -> list[Problem]:
    return _validated(model, document)[1]


def _parsed(model: type[_Model], document: Document, problems: Iterable[Problem]) -> _Model:
    """Make the model, and look at what else is said against the document."""
    made, found = _validated(model, document)
    faults = [problem for problem in (*found, *problems) if not problem.is_warning]
    if made is None or faults:
        raise FragmentFault(faults)
    return made


def _validated(model: type[_Model], document: Document) -> tuple[_Model | None, list[Problem]]:
    try:
        return model.model_validate(_frozen(document)), []
    except ValidationError as error:
        return None, translate(error, model)


def _frozen(value: Any) -> Any:
    """JSON has lists where a document of YAML has tuples."""
    if isinstance(value, Mapping):
        return {name: _frozen(inner) for name, inner in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
