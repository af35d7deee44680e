"""The end of a run, good or bad: its head is sealed with the anchor of its audit chain, and whoever waits for it is told."""

import logging
from collections.abc import Callable

from holdfast_agent import documents
from holdfast_agent.activities.steps import Steps
from holdfast_agent.audit import Chain
from holdfast_agent.documents import Document, Head
from holdfast_agent.store import Entry

_LOG = logging.getLogger(__name__)


async def end(steps: Steps, run: str, how: Callable[[Head], Head], *, known: Entry | None = None, audit: Chain | None = None) -> Head:
    """Write down the end of a run, and with it the anchor of its audit chain. What stands then need not be the end: see `control`.

    Args:
        steps: what activities share.
        run: its id.
        how: gives the ended head, or the same one if the run is not to end so.
        known: the head as it was read a moment ago, to save reading it again.
        audit: the chain with all that was stored before the end.

    Raises:
        LookupError: there is no head.
        StoreError: the store does not answer.
        UnstoredError: the store refuses it.
    """
    here = False

    def ended(document: Document | None) -> Document | None:
        nonlocal here
        if document is None:
            raise LookupError(f"the head of run {run!r} is missing from the state store")
        before = Head.load(document)
        here = not before.terminal
        after = how(before) if here else before
        return None if after == before else steps.auditor.sealed(after, audit).dump()

    stands = await steps.patiently(lambda: steps.store.update(documents.head_key(run), ended, known=known))
    head = Head.load(stands or {})
    if not head.terminal:
        return head
    anchor = head.audit or {}
    told = {"run": run, "status": head.status, "records": anchor.get("count"), "hash": anchor.get("hash")}
    _LOG.info("run ended", extra=told | ({"error": head.error["type"]} if head.error else {}))
    steps.observer.ended(head, here=here)
    steps.transcripts.forget(run)
    steps.ended(head)
    outbox = steps.outbox
    if outbox and head.untold:
        # Whoever waits for the run knows of its end by now. Until it is told, or on record that it is not, Dapr does this step again.
        await steps.patiently(lambda: outbox.tell(head))
    return head
