"""The routes of `/v1/keyring`: which keys there are, how much is stored under each, and moving to the current one.

Owns:      paths and answers. A key itself is in none of them.
Elsewhere: the keyring's file, which `clb keyring` changes (cli/keyring.py); moving (certificate_drafts.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response

from clb.certificates.keyring import KeyringFault, shown_id
from clb.control.access import Actor, audit, requires
from clb.control.certificate_drafts import rewrap
from clb.control.certificate_faults import keyring_unusable
from clb.control.certificate_models import KeyringAnswer, KeyringKey, RewrapAnswer
from clb.control.keyring_holder import KeyringHolder, sealed_keys
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.write_requests import AskedFor, Plan, Rendered, carry_out
from clb.store.inventory import Inventory, Role, Write


def keyring_routes(node: Node) -> APIRouter:
    """Both of them."""
    faults: dict[int | str, dict[str, Any]] = {status: {"model": ErrorAnswer} for status in (400, 401, 403, 421, 503)}
    router = APIRouter(prefix="/v1/keyring", tags=["certificates"], responses=faults)

    @router.get("")
    async def show_keyring(_: Annotated[Actor, requires(Role.VIEWER)]) -> KeyringAnswer:
        """Ids of the keys that this node has, and of those that the store needs."""
        return _answer(node.keyring, node.writer.inventory if node.writer is not None else Inventory())

    @router.post(
        "/rewrap",
        response_model=RewrapAnswer | Plan,
        responses={status: {"model": ErrorAnswer} for status in (409, 422)},
    )
    async def rewrap_keys(actor: Annotated[Actor, requires(Role.ADMIN)], asked: AskedFor) -> Response:
        """Move every stored private key to the current key of the keyring. No private key is decrypted for it."""

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            try:
                present = node.keyring.to_open()
            except KeyringFault as fault:
                raise keyring_unusable(fault) from fault
            done = rewrap(inventory, present)
            record = audit(
                actor,
                "keyring.rewrap",
                present.current,
                at=datetime.fromtimestamp(node.wall(), UTC),
                request_id=asked.request_id,
                before={"sealed": sealed_keys(inventory)},
                after={"moved": done.moved, "left": list(done.left)},
            )
            write = Write(certificates=done.write.certificates, audit=(record,))
            return write, Rendered(RewrapAnswer(current=present.current, moved=done.moved, left=list(done.left)))

        return await carry_out(node, actor, asked, draft)

    return router


def _answer(keyring: KeyringHolder, inventory: Inventory) -> KeyringAnswer:
    counts = sealed_keys(inventory)
    present = keyring.keyring
    ids = present.key_ids if present is not None else ()
    missing = [key for key in counts if key not in ids]
    return KeyringAnswer(
        loaded=present is not None,
        keys=[
            KeyringKey(
                id=shown_id(key),
                current=present is not None and key == present.current,
                present=key in ids,
                sealed=counts.get(key, 0),
            )
            for key in (*ids, *missing)
        ],
    )
