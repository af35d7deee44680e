"""How long a failing store is tried, and when it is not tried again."""

import grpc
import pytest

from holdfast_agent import store as store_module
from holdfast_agent.store import Store, StoreError


class Refusing:
    """A sidecar that answers every call with the same status, and counts them."""

    metadata = ()

    def __init__(self, code):
        self.code, self.calls, self.stub = code, 0, self

    async def _refuse(self, _, **__):
        self.calls += 1
        raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no")

    GetState = SaveState = GetBulkState = _refuse


@pytest.mark.parametrize(("code", "hopeless"), [(grpc.StatusCode.UNAVAILABLE, False), (grpc.StatusCode.RESOURCE_EXHAUSTED, True)])
async def test_patience_is_not_multiplied_and_is_not_spent_on_what_is_hopeless(code, hopeless, monkeypatch):
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.0001)
    for work in (
        lambda store: store.get("k"),
        lambda store: store.create("k", {}),
        lambda store: store.update("k", lambda _: {"n": 1}),
    ):
        sidecar = Refusing(code)
        with pytest.raises(StoreError) as raised:
            await work(Store(sidecar, "state"))
        assert raised.value.hopeless is hopeless
        assert sidecar.calls <= (2 if hopeless else 2 * store_module._ATTEMPTS)


async def test_patience_ends_by_the_clock_too(monkeypatch):
    monkeypatch.setattr(store_module, "_PATIENCE_SECONDS", -1.0)
    sidecar = Refusing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(StoreError):
        await Store(sidecar, "state").get("k")
    assert sidecar.calls == 1
