"""The refusals of `/v1/certificates`, each with its code and what to do.

Owns:      statuses, codes and sentences of writes to certificates.
Elsewhere: faults of certificates themselves, whose codes are those of certificates/faults.py.
Pure:      values in, a fault out; nothing of a key is ever in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from clb.certificates.keyring import KeyringFault
from clb.certificates.lifecycle import State
from clb.certificates.rehearsal import Breakage
from clb.certificates.upload import Finding
from clb.control.certificate_uses import Use
from clb.control.problems import ApiFault, FieldProblem


def not_found() -> ApiFault:
    """No such certificate."""
    return ApiFault(404, "not_found", "there is no certificate with this id; GET /v1/certificates lists them")


def owned_by_file(name: str) -> ApiFault:
    """The file's are changed in the file."""
    message = f'the configuration file owns certificate "{name}"; replace its files and run clb reload'
    return ApiFault(409, "owned_by_file", message)


def name_taken(name: str, by: str) -> ApiFault:
    """Names are unique over file and store."""
    return ApiFault(409, "name_taken", f'{by} is called "{name}" already; choose another name, or replace that one')


def judged_unsound(findings: Sequence[Finding]) -> ApiFault:
    """What was sent cannot be stored; the code is that of what a person would mend first."""
    return ApiFault(
        422,
        findings[0].code,
        str(findings[0]),
        [FieldProblem(f"{finding} ({finding.code})", key=finding.field) for finding in findings],
    )


def bound(name: str, uses: Iterable[Use]) -> ApiFault:
    """Removal of what is in use."""
    lines = [use.where for use in uses]
    count = f"{len(lines)} listener{'' if len(lines) == 1 else 's'}"
    message = f'certificate "{name}" is used by {count}; give them another one first'
    return ApiFault(409, "certificate_bound", message, lines)


def declared_in_file(name: str, given: Iterable[str]) -> ApiFault:
    """The file refers to it by its id; without it the next load would fail."""
    message = f'the configuration file declares certificate "{name}" (stored: ...); remove it there and run clb reload'
    return ApiFault(409, "named_by_file", message, [f"certificates.{each}" for each in given])


def renaming_breaks_file(name: str, uses: Iterable[Use]) -> ApiFault:
    """A reference in the file cannot follow."""
    message = f'the configuration file refers to certificate "{name}" by this name; change it there first'
    return ApiFault(409, "named_by_file", message, [use.where for use in uses])


def nothing_to_roll_back_to(name: str) -> ApiFault:
    """It was never replaced."""
    return ApiFault(409, "no_previous", f'certificate "{name}" has no previous generation; it was never replaced')


def previous_needs_force(name: str, dates: State, not_before: datetime, not_after: datetime) -> ApiFault:
    """The previous generation is out of its dates."""
    when = (
        f"expired on {not_after:%Y-%m-%d}" if dates is State.EXPIRED else f"is not valid before {not_before:%Y-%m-%d}"
    )
    code = "expired" if dates is State.EXPIRED else "not_yet_valid"
    message = f'the previous generation of certificate "{name}" {when}; send it with "force" to have it all the same'
    return ApiFault(422, code, message)


def keyring_unusable(fault: KeyringFault) -> ApiFault:
    """Keys can be neither stored nor opened."""
    status = 409 if fault.code in ("key_damaged", "keyring_missing") else 503
    return ApiFault(status, fault.code, str(fault))


def would_break(name: str, breakages: Sequence[Breakage]) -> ApiFault:
    """The rehearsal found clients that are served today and would not be."""
    message = (
        f'clients that are served today would not be any more: {breakages[0]}; send it with "force" to swap anyway'
    )
    return ApiFault(409, "rehearsal_failed", message, [str(breakage) for breakage in breakages])
