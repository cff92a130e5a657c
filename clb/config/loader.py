"""Load one configuration file.

Owns:      the order of the steps, and that all faults of all steps come out together.
Elsewhere: each step (document.py, translate.py, checks/); what file names point to (service/materials.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from clb.config.checks import check
from clb.config.document import MAXIMUM_BYTES, DocumentError, parse
from clb.config.faults import ConfigErrors, Fault, Problem
from clb.config.models import Certificate, Config
from clb.config.source import Source
from clb.config.translate import translate


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a file; `config` is None if it has faults."""

    source: Source
    config: Config | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def load(path: Path) -> Config:
    """The configuration, or `ConfigErrors` with everything that is wrong with the file."""
    reading = read(path)
    if reading.config is None:
        raise ConfigErrors(reading.faults)
    return reading.config


def read(path: Path) -> Reading:
    """As much as can be understood; `ConfigErrors` only if there is no document at all."""
    source, slips = read_source(path)
    config, problems = validate(source.data, source.directory)
    faults = source.faults(problem for problem in problems if not problem.is_warning)
    faults += slips
    warnings = source.faults(problem for problem in problems if problem.is_warning)
    return Reading(source, None if faults else config, tuple(sorted(faults)), tuple(warnings))


def read_source(path: Path) -> tuple[Source, list[Fault]]:
    """The places of a file, and faults that need no understanding of it (a key given twice)."""
    try:
        root, slips = parse(_contents(path))
    except DocumentError as error:
        raise ConfigErrors([Fault(str(path), *error.place, "", error.message)]) from None
    return Source(path, root), [Fault(str(path), *slip.place, "", slip.message) for slip in slips]


def validate(data: object, directory: Path) -> tuple[Config | None, list[Problem]]:
    """Plain data as a configuration, with every problem; file names are relative to `directory`."""
    problems = list(check(data))
    if not isinstance(data, Mapping):
        return None, [Problem((), 'the document is not a mapping; it starts with a key such as "node:"')]
    try:
        config = Config.model_validate(data, context={"directory": str(directory)})
    except ValidationError as error:
        return None, translate(error) + problems
    return config, problems


def sound_certificates(reading: Reading) -> dict[str, Certificate]:
    """The rightly declared certificates of a file that may be wrong elsewhere: their files can be checked."""
    if reading.config is not None:
        return reading.config.certificates
    data = reading.source.data
    declared = data.get("certificates") if isinstance(data, Mapping) else None
    sound = {}
    for name, raw in declared.items() if isinstance(declared, Mapping) else ():
        try:
            context = {"directory": str(reading.source.directory)}
            sound[name] = Certificate.model_validate(raw, context=context)
        except ValidationError:
            continue  # already among the faults
    return sound


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigErrors([Fault(str(path), 1, 1, "", f"cannot be read: {reason.lower()}")]) from None
