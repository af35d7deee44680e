"""What a call came to, written once, and what the workflow is told of it."""

import logging
from dataclasses import replace
from typing import Final

from holdfast_agent import documents
from holdfast_agent.activities.steps import Output, Steps, bounded
from holdfast_agent.audit.chain import fingerprint
from holdfast_agent.documents import Document, ToolOutcome
from holdfast_api import names

_LOG = logging.getLogger(__name__)
_SETTLED: Final = {"rejected": "not called", "skipped": "not called", "unknown": "answer lost"}
"""What the log says of outcomes that no answer of the tool's came to."""


async def keep(steps: Steps, outcome: ToolOutcome, *, late: bool) -> Document:
    """Write an outcome down; what stands then is the outcome, whoever wrote it.

    Args:
        steps: what activities share.
        outcome: of the call.
        late: keep this one too, for people, if another one stands: the call was given up while it was still on its way.

    Raises:
        UnstoredError: it is lost.
    """
    document = replace(outcome, content=bounded(outcome.content)).dump()
    stored = await steps.persist(outcome.key, document)
    steps.intents.done(outcome.key)
    extra = {"run": outcome.key.partition("/")[0], "step": outcome.key, "tool": outcome.tool, "outcome": outcome.outcome}
    _LOG.info(
        _SETTLED.get(outcome.outcome, "tool answered"),
        extra=extra | {"seconds": round(outcome.ended - outcome.started, 3), "error": outcome.is_error},
    )
    if late and stored != document:
        _LOG.warning("the answer came late: it is kept beside the outcome", extra=extra)
        await steps.patiently(lambda: steps.store.create(late_document(outcome.key), document))
    return stored


def late_document(key: str) -> str:
    """Where an answer is that came after its call was given up."""
    return f"{documents.effect_document(key)}/late"


def came_to(outcome: ToolOutcome, document: Document) -> Output:
    """The activity's answer for a stored outcome."""
    told = {"key": outcome.key, "tool": outcome.tool, "isError": outcome.is_error}
    return told | {"digest": fingerprint(document), "result": names.digest(outcome.content)}
