"""The routes of `/v1/certificates`.

Owns:      paths, methods, roles, and the order of a request: what was sent, a rehearsal where one is due, the write.
Elsewhere: what each write is (certificate_drafts.py); what is told (certificate_catalog.py); the rehearsal's
           preparation (certificate_swap.py); what all writes have in common (write_requests.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from clb.certificates.description import CertificateType
from clb.certificates.lifecycle import State, state
from clb.certificates.rehearsal import Breakage, rehearse
from clb.certificates.upload import Finding, Upload, judge
from clb.control.access import Actor, audit, requires
from clb.control.certificate_catalog import Catalog, FileCertificate
from clb.control.certificate_drafts import Outcome, find, remove, rename, roll_back, swap, upload
from clb.control.certificate_faults import not_found, would_break
from clb.control.certificate_models import (
    CertificateDetail,
    CertificateList,
    CertificateWritten,
    CheckAnswer,
    CheckRequest,
    FindingAnswer,
    Material,
    RenameRequest,
    RollbackRequest,
    UploadRequest,
    Uses,
)
from clb.control.certificate_swap import stages
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.preconditions import etag
from clb.control.write_requests import Asked, AskedFor, Plan, Rendered, carry_out
from clb.control.writer import NodeBusy
from clb.service.steps import in_steps
from clb.store.inventory import Certificate, Inventory, Role, Write

MOST_AT_ONCE = 1000
_ATTEMPTS = 5
_IN_A_STEP = 25
"""Certificates that are read at a time: a few milliseconds' work, once for each."""

_Id = Annotated[str, Path(max_length=120, description="Id of the certificate.", examples=["cert-k7m2p9qxw4ab"])]
_Viewer = Annotated[Actor, requires(Role.VIEWER)]
_Operator = Annotated[Actor, requires(Role.OPERATOR)]
_Admin = Annotated[Actor, requires(Role.ADMIN)]
_Decide = Callable[[Catalog, Certificate], Outcome]


def certificate_routes(node: Node) -> APIRouter:
    """All of them, for one node."""
    router = APIRouter(prefix="/v1/certificates", tags=["certificates"], responses=_faults(400, 401, 403, 421, 503))
    routes = _Routes(node)
    routes.add_reading(router)
    routes.add_writing(router)
    routes.add_swapping(router)
    return router


class _Routes:
    def __init__(self, node: Node) -> None:
        self._node = node

    # --- reading ---

    def add_reading(self, router: APIRouter) -> None:
        @router.get("")
        async def list_certificates(
            _: _Viewer,
            name: Annotated[str | None, Query(max_length=80)] = None,
            type: Annotated[Literal["server", "ca"] | None, Query()] = None,
            state: Annotated[State | None, Query()] = None,
            owner: Annotated[Literal["api", "file"] | None, Query()] = None,
            after: Annotated[str | None, Query(max_length=80, description="The last page's next.")] = None,
            limit: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 100,
        ) -> CertificateList:
            """Certificates of the store and of the configuration file, by name."""
            catalog, now = self._catalog(), self._now()
            wanted = {"name": name, "type": type, "state": state, "owner": owner}
            found = [each for each in catalog.all() if after is None or each.name > after]
            found = [each for each in found if _fits(each, wanted, now)]
            answers = []
            for number, each in enumerate(found[:limit], start=1):
                answers.append(catalog.answer(each, now))
                if number % _IN_A_STEP == 0:
                    await asyncio.sleep(0)
            return CertificateList(certificates=answers, next=found[limit - 1].name if len(found) > limit else None)

        @router.post("/check", responses=_faults(404))
        async def check_certificate(given: CheckRequest, _: _Operator) -> CheckAnswer:
            """Say all that is wrong with a certificate and its key, and what to do. Nothing is stored."""
            return self._check(given)

        @router.get("/{certificate_id}", responses=_faults(404))
        async def show_certificate(certificate_id: _Id, response: Response, _: _Viewer) -> CertificateDetail:
            """A certificate, its chain, and where it is used. Never its key."""
            detail = self._detail(certificate_id)
            response.headers["etag"] = etag(detail.version)
            return detail

        @router.get("/{certificate_id}/where", responses=_faults(404))
        async def where_certificate_is_used(certificate_id: _Id, _: _Viewer) -> Uses:
            """The listeners that use it, of the file and of the store, in every region."""
            catalog = self._catalog()
            return Uses(uses=catalog.use_answers(catalog.used_by(_any(catalog, certificate_id))))

    def _detail(self, certificate_id: str) -> CertificateDetail:
        catalog = self._catalog()
        certificate = _any(catalog, certificate_id)
        return CertificateDetail(
            **dict(catalog.answer(certificate, self._now())),
            certificate=_chain(certificate),
            uses=catalog.use_answers(catalog.used_by(certificate)),
        )

    def _check(self, given: CheckRequest) -> CheckAnswer:
        catalog, now = self._catalog(), self._now()
        domains: list[str] = []
        if given.replaces is not None:
            uses = catalog.used_by(find(catalog, given.replaces))
            domains = [domain for use in uses if len(use.shown) == 1 for domain in use.domains]
        verdict = judge(_upload(given, given.type), catalog.known(), domains, now)
        told: dict[str, Any] = {}
        if verdict.sound is not None:
            description = verdict.sound.description
            told = {
                name: getattr(description, name)
                for name in ("subject", "issuer", "key", "fingerprint", "not_before", "not_after")
            }
            told["names"] = list(description.names)
            told["state"] = state(description.not_before, description.not_after, now)
        return CheckAnswer(
            ok=verdict.sound is not None,
            errors=_findings(verdict.errors),
            warnings=_findings(verdict.warnings),
            **told,
        )

    # --- writing ---

    def add_writing(self, router: APIRouter) -> None:
        @router.post(
            "",
            status_code=201,
            response_model=CertificateWritten,
            responses={200: {"model": Plan}, **_faults(409, 422)},
        )
        async def upload_certificate(given: UploadRequest, actor: _Admin, asked: AskedFor) -> Response:
            """Store a certificate. Its private key is encrypted under the keyring and never comes back."""

            def draft(inventory: Inventory) -> tuple[Write, Rendered]:
                catalog, now = self._catalog(inventory), self._now()
                outcome = upload(catalog, given.name, _upload(given, given.type), self._node.keyring.to_seal, now)
                return self._finish(inventory, outcome, "certificate.upload", actor, asked, status=201)

            return await carry_out(self._node, actor, asked, draft)

        @router.patch(
            "/{certificate_id}", response_model=CertificateWritten | Plan, responses=_faults(404, 409, 412, 422, 428)
        )
        async def rename_certificate(
            certificate_id: _Id, given: RenameRequest, actor: _Admin, asked: AskedFor
        ) -> Response:
            """Give it another name; listeners of the store that use it follow in the same write."""

            def decide(catalog: Catalog, certificate: Certificate) -> Outcome:
                return rename(catalog, certificate, given.name, self._now())

            return await self._write(certificate_id, decide, "certificate.rename", actor, asked)

        @router.delete(
            "/{certificate_id}", status_code=204, response_class=Response,
            responses={200: {"model": Plan}, **_faults(404, 409, 412, 422, 428)},
        )  # fmt: skip
        async def remove_certificate(certificate_id: _Id, actor: _Admin, asked: AskedFor) -> Response:
            """Remove it, and its key for good. Refused while a listener uses it; the answer names them."""
            return await self._write(certificate_id, remove, "certificate.delete", actor, asked)

    def add_swapping(self, router: APIRouter) -> None:
        @router.post(
            "/{certificate_id}/replace",
            response_model=CertificateWritten | Plan,
            responses=_faults(404, 409, 412, 422, 428),
        )
        async def replace_certificate(
            certificate_id: _Id, given: Material, actor: _Operator, asked: AskedFor
        ) -> Response:
            """Put another certificate in its place, on every listener that uses it, without losing a connection.

            The swap is rehearsed before: if clients that are served today would not be any more, it is refused.
            """

            def decide(catalog: Catalog, certificate: Certificate) -> Outcome:
                return swap(
                    catalog, certificate, _upload(given, certificate.type), self._node.keyring.to_seal, self._now()
                )

            return await self._swap(certificate_id, decide, "certificate.replace", actor, asked, force=given.force)

        @router.post(
            "/{certificate_id}/rollback",
            response_model=CertificateWritten | Plan,
            responses=_faults(404, 409, 412, 422, 428),
        )
        async def roll_certificate_back(
            certificate_id: _Id, actor: _Operator, asked: AskedFor, given: RollbackRequest | None = None
        ) -> Response:
            """Take the previous generation into service again, rehearsed as a replacement is."""
            force = given is not None and given.force

            def decide(catalog: Catalog, certificate: Certificate) -> Outcome:
                return roll_back(catalog, certificate, self._node.keyring.to_open, self._now(), force=force)

            return await self._swap(certificate_id, decide, "certificate.rollback", actor, asked, force=force)

    async def _write(self, certificate_id: str, decide: _Decide, action: str, actor: Actor, asked: Asked) -> Response:
        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            catalog = self._catalog(inventory)
            certificate = find(catalog, certificate_id)
            asked.expect(certificate.version)
            return self._finish(inventory, decide(catalog, certificate), action, actor, asked)

        return await carry_out(self._node, actor, asked, draft)

    async def _swap(
        self, certificate_id: str, decide: _Decide, action: str, actor: Actor, asked: Asked, *, force: bool
    ) -> Response:
        """Decide, rehearse, and write if nothing that was rehearsed is another meanwhile."""
        for _ in range(_ATTEMPTS):
            catalog = self._catalog()
            certificate = find(catalog, certificate_id)
            asked.expect(certificate.version)
            outcome = decide(catalog, certificate)
            assert outcome.after is not None, "a swap leaves a certificate"
            scenes = stages(catalog, certificate, outcome.after, self._node.keyring.to_open)
            breakages = await in_steps(rehearse(scenes))
            if breakages and not force:
                raise would_break(certificate.name, breakages)

            def draft(
                inventory: Inventory, outcome: Outcome = outcome, breakages: tuple[Breakage, ...] = breakages
            ) -> tuple[Write, Rendered]:
                now = self._catalog(inventory)
                if find(now, certificate_id) != outcome.before or now.used_by(outcome.before) != outcome.uses:
                    raise _Moved
                return self._finish(inventory, outcome, action, actor, asked, breakages=breakages)

            with suppress(_Moved):
                return await carry_out(self._node, actor, asked, draft)
        raise NodeBusy("the listeners that use the certificate change all the time; try again")

    def _finish(
        self,
        inventory: Inventory,
        outcome: Outcome,
        action: str,
        actor: Actor,
        asked: Asked,
        *,
        status: int = 200,
        breakages: tuple[Breakage, ...] = (),
    ) -> tuple[Write, Rendered]:
        """Add the audit record, and say what comes of it."""
        now = self._now()
        certificate = outcome.after or outcome.before
        assert certificate is not None, "a write is about a certificate"
        after = _audited(outcome.after)
        if after is not None and breakages:
            after["forced_although"] = [str(breakage) for breakage in breakages[:20]]
        record = audit(
            actor,
            action,
            f"{certificate.id} ({certificate.name})",
            at=now,
            request_id=asked.request_id,
            before=_audited(outcome.before),
            after=after,
        )
        write = replace(outcome.write, audit=(record,))
        if outcome.after is None:
            return write, Rendered(None, 204)
        catalog = self._catalog(inventory.after(write))
        body = CertificateWritten(
            certificate=catalog.answer(outcome.after, now),
            warnings=_findings(outcome.warnings),
            swapped=catalog.use_answers(outcome.uses),
            broken=[str(breakage) for breakage in breakages],
        )
        location = f"/v1/certificates/{outcome.after.id}" if status == 201 else None
        return write, Rendered(body, status, outcome.after.version, location)

    # --- what there is ---

    def _catalog(self, inventory: Inventory | None = None) -> Catalog:
        if inventory is None:
            inventory = self._node.writer.inventory if self._node.writer is not None else Inventory()
        return Catalog.of(self._node.outline, inventory)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._node.wall(), UTC)


class _Moved(Exception):
    """What was rehearsed is not what there is any more."""


def _any(catalog: Catalog, certificate_id: str) -> Certificate | FileCertificate:
    found = catalog.inventory.certificates.get(certificate_id) or catalog.of_file(certificate_id)
    if found is None:
        raise not_found()
    return found


def _fits(certificate: Certificate | FileCertificate, wanted: Mapping[str, str | None], now: datetime) -> bool:
    dates: tuple[datetime, datetime] | None
    if isinstance(certificate, Certificate):
        dates = (certificate.material.not_before, certificate.material.not_after)
    else:
        dates = certificate.dates
    known = {
        "name": certificate.name,
        "type": certificate.type,
        "owner": "api" if isinstance(certificate, Certificate) else "file",
        "state": state(*dates, now) if dates is not None else None,
    }
    return all(value is None or known[word] == value for word, value in wanted.items())


def _chain(certificate: Certificate | FileCertificate) -> str | None:
    if isinstance(certificate, Certificate):
        return certificate.material.chain_pem
    return certificate.pem.decode("ascii") if certificate.pem is not None else None


def _upload(given: Material, kind: CertificateType) -> Upload:
    return Upload(
        kind,
        _text(given.certificate),
        _text(given.private_key.get_secret_value()) if given.private_key is not None else None,
        _text(given.passphrase.get_secret_value()) if given.passphrase is not None else None,
        given.reorder,
        given.force,
    )


def _text(value: str) -> bytes:
    # JSON can hold halves of characters; nothing that is sound has them.
    return value.encode("utf-8", "replace")


def _findings(findings: Iterable[Finding]) -> list[FindingAnswer]:
    return [FindingAnswer(field=each.field, code=each.code, message=each.message, fix=each.fix) for each in findings]


def _audited(certificate: Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return {
        "name": certificate.name,
        "type": certificate.type,
        "generation": certificate.generation,
        "fingerprint": certificate.material.fingerprint,
        "not_after": certificate.material.not_after,
        "forced": certificate.forced,
    }


def _faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in statuses}
