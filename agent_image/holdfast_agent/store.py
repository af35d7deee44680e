"""The rules by which documents are kept in a Dapr state store. Nothing else in the agent writes state.

Stores differ more than their common API suggests (Redis answers a lost first-write with INTERNAL, checks nothing inside a
transaction, and lets a first write replace a key that was written plainly), so only what holds everywhere is used:

* write-once: one key, one save, first-write, never in a transaction. After *any* error the key is read back, and what is there wins;
* mutable: every save carries the ETag that was read, and the key's first write was a first-write;
* a lost reply is told from a lost write by reading back too;
* deleting is idempotent: what is not there is deleted. With an ETag it is never another's newer document that goes;
* an ETag means something only while its document lives: Redis counts from 1 again for what is written after a deletion.

`tests/agent/test_store.py` holds these against SQLite, Redis and PostgreSQL.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import grpc
from dapr.proto import api_v1, common_v1

from holdfast_agent.sidecar import Sidecar

_LOG = logging.getLogger(__name__)
_CALL_SECONDS: Final = 5.0
_ATTEMPTS: Final = 6
_PATIENCE_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.05
_BULK: Final = 25
_GROUPS: Final = 8
_RIVALS: Final = 20
_RIVAL_PAUSE: Final = 0.05
_HOPELESS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_FIRST_WRITE: Final = common_v1.StateOptions(concurrency=common_v1.StateOptions.CONCURRENCY_FIRST_WRITE)

Document = dict[str, Any]
T = TypeVar("T")


class StoreError(Exception):
    """The store did not do what was asked.

    Attributes:
        hopeless: it refuses this very request (too large, not allowed), so trying again cannot help. Else nothing is known to be wrong
            with the request, and several tries have failed.
    """

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


@dataclass(frozen=True)
class Entry:
    """A document as the store holds it."""

    value: Document
    etag: str


class Store:
    """One state Component, seen through the sidecar.

    Attributes:
        written: bytes of documents that were written, since the start.
    """

    def __init__(self, sidecar: Sidecar, component: str) -> None:
        self._sidecar, self._component = sidecar, component
        self.written = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: str) -> Entry | None:
        """The document under `key`, or None.

        Raises:
            StoreError: the store does not answer.
        """
        return await self._patiently("read", key, lambda: self._read(key))

    async def get_many(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The documents that exist among `keys`, fetched in groups so that no answer outgrows Dapr's message limit.

        Raises:
            StoreError: the store does not answer.
        """
        wanted = list(dict.fromkeys(keys))
        groups = [wanted[start : start + _BULK] for start in range(0, len(wanted), _BULK)]
        found: dict[str, Entry] = {}
        if len(groups) <= 1:
            return await self._get_group(wanted) if wanted else {}
        gate = asyncio.Semaphore(_GROUPS)

        async def fetch(group: list[str]) -> dict[str, Entry]:
            async with gate:
                return await self._get_group(group)

        for group in await asyncio.gather(*map(fetch, groups)):
            found |= group
        return found

    async def create(self, key: str, value: Document) -> tuple[Document, bool]:
        """Write `value` unless `key` exists. Whoever comes second gets what the first one wrote.

        Returns:
            The document that stands now, and whether it is ours.

        Raises:
            StoreError: neither the write nor reading back worked.
        """

        async def attempt() -> tuple[Document, bool]:
            try:
                await self._save(key, value, etag=None)
            except grpc.RpcError as error:
                there = await self._read(key)
                if there is None:
                    raise error from None
                return there.value, there.value == value
            return value, True

        return await self._patiently("create", key, attempt)

    async def update(
        self, key: str, change: Callable[[Document | None], Document | None], *, known: Entry | None = None
    ) -> Document | None:
        """Read, change and write back until nobody was in between.

        Args:
            key: where the document is.
            change: gets the stored document (None: there is none) and returns what shall stand, or None to leave all as it is. It may
                be called several times and must not change its argument.
            known: what was read a moment ago, to save reading it again. If it is outdated, the store says so.

        Returns:
            What stands now.

        Raises:
            StoreError: the store does not answer, or others kept winning.
        """
        async with self._locks.setdefault(key, asyncio.Lock()):
            return await self._patiently("update", key, lambda: self._exchange(key, change, known))

    async def delete(self, key: str, *, etag: str | None = None) -> bool:
        """Remove a document; one that is not there is removed already.

        Args:
            key: where it is.
            etag: only as it was read with this; None takes it whatever it is.

        Returns:
            Whether it is gone; False if it has changed since it was read.

        Raises:
            StoreError: the store does not answer.
        """
        request = api_v1.DeleteStateRequest(store_name=self._component, key=key)
        if etag is not None:
            request.etag.CopyFrom(common_v1.Etag(value=etag))
            request.options.CopyFrom(_FIRST_WRITE)

        async def attempt() -> bool:
            try:
                await self._call(self._sidecar.stub.DeleteState, request)
            except grpc.RpcError as error:
                there = await self._read(key)
                if there and there.etag == (etag or there.etag):
                    raise error from None
                return there is None
            return True

        return await self._patiently("delete", key, attempt)

    async def delete_many(self, keys: list[str]) -> None:
        """Remove documents whatever they are, in no order.

        Raises:
            StoreError: the store does not answer; some may be gone.
        """
        states = [common_v1.StateItem(key=key) for key in keys]
        request = api_v1.DeleteBulkStateRequest(store_name=self._component, states=states)
        await self._patiently("delete", keys[0], lambda: self._call(self._sidecar.stub.DeleteBulkState, request))

    async def _exchange(self, key: str, change: Callable[[Document | None], Document | None], known: Entry | None) -> Document | None:
        for tried in range(_RIVALS):
            entry = known if known and tried == 0 else await self._read(key)
            wanted = change(entry.value if entry else None)
            if wanted is None or (entry and wanted == entry.value):
                return entry.value if entry else None
            try:
                await self._save(key, wanted, etag=entry.etag if entry else None)
            except grpc.RpcError as error:
                there = await self._read(key)
                if there and there.value == wanted:
                    return wanted
                if (there and there.etag) == (entry and entry.etag):
                    raise error from None
                await asyncio.sleep(random.random() * _RIVAL_PAUSE)  # noqa: S311 - only to step aside
            else:
                return wanted
        raise StoreError("others kept changing it")

    async def _read(self, key: str) -> Entry | None:
        """Read once. Whoever is patient already must not be patient twice over."""
        reply = await self._call(self._sidecar.stub.GetState, api_v1.GetStateRequest(store_name=self._component, key=key))
        return Entry(json.loads(reply.data), reply.etag) if reply.data else None

    async def _get_group(self, keys: list[str]) -> dict[str, Entry]:
        request = api_v1.GetBulkStateRequest(store_name=self._component, keys=keys, parallelism=len(keys))
        try:
            reply = await self._patiently("read", keys[0], lambda: self._bulk(request))
        except StoreError as error:
            if not isinstance(error.__cause__, grpc.RpcError) or error.__cause__.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            singles = await asyncio.gather(*map(self.get, keys))
            return {key: entry for key, entry in zip(keys, singles, strict=True) if entry}
        return {item.key: Entry(json.loads(item.data), item.etag) for item in reply.items if item.data}

    async def _bulk(self, request: Any) -> Any:  # noqa: ANN401 - generated messages have no types
        reply = await self._call(self._sidecar.stub.GetBulkState, request)
        failed = next((item.error for item in reply.items if item.error), None)
        if failed:
            raise StoreError(failed)
        return reply

    async def _save(self, key: str, value: Document, *, etag: str | None) -> None:
        data = _ENCODER.encode(value).encode()
        item = common_v1.StateItem(key=key, value=data, options=_FIRST_WRITE)
        if etag is not None:
            item.etag.CopyFrom(common_v1.Etag(value=etag))
        await self._call(self._sidecar.stub.SaveState, api_v1.SaveStateRequest(store_name=self._component, states=[item]))
        self.written += len(data)

    async def _call(self, method: Any, request: Any) -> Any:  # noqa: ANN401 - generated stubs have no types
        return await method(request, timeout=_CALL_SECONDS, metadata=self._sidecar.metadata)

    async def _patiently(self, verb: str, key: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try a few times over some seconds: a store that restarts, or a rival that writes, is no error yet."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        for tried in range(1, _ATTEMPTS + 1):
            try:
                return await attempt()
            except (grpc.RpcError, StoreError) as error:
                hopeless = isinstance(error, grpc.RpcError) and error.code() in _HOPELESS
                if tried == _ATTEMPTS or hopeless or time.monotonic() > give_up:
                    told = error.details() if isinstance(error, grpc.RpcError) else str(error)
                    raise StoreError(f"state store {self._component!r}: cannot {verb} {key!r}: {told}", hopeless=hopeless) from error
                await asyncio.sleep(_FIRST_PAUSE * 3 ** (tried - 1))
        raise AssertionError  # pragma: no cover - the loop returns or raises
