"""Namespaces of the operator's list that it may not read: they keep no other waiting, are named with the fix, and are tried again.

A namespace that is absent looks the same as one without the Role: rights in a namespace are looked up in it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from holdfast_operator.cluster import ApiError
from holdfast_operator.kinds import AGENT, Kind

logger = logging.getLogger(__name__)


class Scopes:
    """What could be read where, the last time."""

    def __init__(self) -> None:
        self._refused: dict[str, set[Kind]] = {}

    @contextmanager
    def reading(self, kind: Kind, namespace: str | None) -> Iterator[None]:
        """Around each list of a kind: notes whether it was refused. The error goes on to the caller.

        Raises:
            ApiError: what the server said.
        """
        try:
            yield
        except ApiError as error:
            if namespace and forbidden(error):
                self._note(kind, namespace, error)
            raise
        if namespace in self._refused:
            self._refused[namespace].discard(kind)
            if not self._refused[namespace]:
                del self._refused[namespace]
                logger.warning("namespace %s can be read now, and is looked after", namespace)

    def _note(self, kind: Kind, namespace: str, error: ApiError) -> None:
        if namespace not in self._refused:
            logger.error("%s: %s", advice(namespace, {kind}), error)
        self._refused.setdefault(namespace, set()).add(kind)

    def refused(self) -> list[tuple[str, list[Kind]]]:
        """Namespaces with the kinds that cannot be read there; Agents, which no watch of ours asks for again, come first."""
        return [(namespace, sorted(kinds, key=lambda kind: (kind != AGENT, kind.plural))) for namespace, kinds in self._refused.items()]

    def unreadable(self) -> dict[str, str]:
        """Namespaces that cannot be read -> what is missing there and what mends it."""
        return {namespace: advice(namespace, refused) for namespace, refused in sorted(self._refused.items())}


def forbidden(error: ApiError) -> bool:
    """Whether the server refused for want of a right."""
    return error.status == HTTPStatus.FORBIDDEN


def advice(namespace: str, kinds: set[Kind]) -> str:
    """What is missing and what mends it."""
    missing = ", ".join(sorted(f"{kind.plural}.{kind.group}" if kind.group else kind.plural for kind in kinds))
    return (
        f"namespace {namespace} cannot be read ({missing}) and its Agents are not looked after: it does not exist, or has no Role and "
        f"RoleBinding for the operator. Create it and run `helm upgrade` again with it in watch.namespaces, or take it out of that list"
    )
