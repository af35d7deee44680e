"""The cluster tests' common ground: Holdfast installed from the sources at hand, and the trip planner of the examples in it.

`python3 -m e2e.cluster up` (or CLUSTER=current) has to have happened; `make test-cluster` does both.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from e2e import holdfast
from e2e.caller import MODEL, PLANNER
from e2e.cluster.faults import Fault
from e2e.cluster.places import places
from e2e.holdfast import ROOT, Images, kubectl
from e2e.tests.support import RESTRICTED, Caller, Ledger, Namespace, new_namespace
from e2e.tests.voyage import Voyage, voyage


@pytest.fixture(scope="session")
def images() -> Images:
    """Holdfast is installed; these are its images."""
    found = holdfast.provide_images(places())
    holdfast.install(places(), found)
    return found


@pytest.fixture(scope="session")
def travel(images: Images) -> Iterator[Namespace]:
    """A restricted namespace with the trip planner and its scripted model, as the examples have them."""
    with new_namespace("e2e-travel", RESTRICTED) as namespace:
        model = (ROOT / "examples/scripted-model.yaml").read_text().replace("holdfast-agent:0.1.0", images.agent)
        kubectl("apply", "-n", namespace.name, "-f", "-", stdin=model)
        namespace.run("apply", "-f", str(ROOT / "examples/trip-planner.yaml"))
        namespace.run("rollout", "status", f"deployment/{MODEL}", "--timeout=120s", timeout=130)
        yield namespace


@pytest.fixture
def planner(travel: Namespace) -> Iterator[Caller]:
    """The trip planner, Ready."""
    travel.ready(PLANNER)
    with ExitStack() as stack:
        yield Caller(stack, travel.name, PLANNER)


@pytest.fixture
def ledger(travel: Namespace) -> Ledger:
    """What the scripted model and its tools were asked."""
    return Ledger(travel.name)


@pytest.fixture(scope="session")
def sea(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voyage]:
    """A restricted namespace with the navigator of the examples, which calls an MCP server and carries Secrets wherever an Agent can."""
    with voyage(images, tmp_path_factory.mktemp("mcp")) as found:
        yield found


@pytest.fixture
def namespace(images: Images) -> Iterator[Namespace]:
    """A namespace of the test's own, under Pod Security `restricted`."""
    with new_namespace("e2e", RESTRICTED) as made:
        yield made


@pytest.fixture
def caller() -> Iterator[Callable[[Namespace, str], Caller]]:
    """Calls any agent."""
    with ExitStack() as stack:
        yield lambda namespace, agent: Caller(stack, namespace.name, agent)


def pytest_exception_interact(node: pytest.Item, report: pytest.TestReport) -> None:
    """Add to a failure what one would look at next: the Agents, the pods, and the last words of both containers."""
    used = getattr(node, "funcargs", {}).values()
    found = [value.namespace if isinstance(value, Voyage) else value for value in used if isinstance(value, Namespace | Voyage)]
    for namespace in found:
        logs = [["logs", "-l", "holdfast.dev/agent", "-c", name, "--prefix", "--tail=25", "--ignore-errors"] for name in ("agent", "daprd")]
        looks = [["get", "agents,pods", "-o", "wide"], *logs]
        for look in looks:
            with contextlib.suppress(Fault):
                report.sections.append((f"kubectl -n {namespace.name} {' '.join(look)}", namespace.run(*look)))
