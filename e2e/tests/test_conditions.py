"""Every trouble is a condition with a stable reason and a message that tells the fix, and heals by itself when the cause goes.

All Agents of this file are in trouble at once, so that their waits overlap.
"""

from collections.abc import Iterator

import pytest

from e2e import holdfast
from e2e.holdfast import Images
from e2e.tests.support import RESTRICTED, Manifest, Namespace, agent, eventually, new_namespace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
NO_IMAGE = "registry.invalid/holdfast-agent:none"
TAKEN: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}, "spec": {"ports": [{"port": 80}]}}


@pytest.fixture(scope="module")
def troubled(images: Images) -> Iterator[Namespace]:
    """A namespace whose Agents each lack something."""
    key = {"name": "model-key", "key": "api-key"}
    with new_namespace("e2e-trouble", RESTRICTED) as namespace:
        namespace.apply(
            TAKEN,
            agent("taken"),
            agent("keyless", model={"provider": "openai", "name": "x", "apiKeySecretRef": key}),
            agent("imageless", image=NO_IMAGE),
            agent("promptless", systemPromptFrom={"configMapKeyRef": {"name": "prompt", "key": "text"}}),
            agent("accountless", serviceAccountName="clerk"),
            agent("storeless", state={"component": "our-store"}),
        )
        yield namespace


def test_a_missing_secret_is_named_and_its_coming_heals(troubled: Namespace) -> None:
    message = troubled.says("keyless", "ReferencesResolved", "SecretNotFound")
    assert "kubectl create secret generic model-key --from-literal=api-key=" in message

    troubled.run("create", "secret", "generic", "model-key", "--from-literal=api-key=none")
    troubled.ready("keyless")


def test_an_image_that_cannot_be_pulled_is_named_and_another_one_heals(troubled: Namespace) -> None:
    message = troubled.says("imageless", "Available", "ImagePullFailed")
    assert NO_IMAGE in message

    troubled.run("patch", "agent", "imageless", "--type=merge", '-p={"spec":{"image":null}}')
    troubled.ready("imageless")


def test_a_missing_config_map_is_named_and_its_coming_heals(troubled: Namespace) -> None:
    message = troubled.says("promptless", "ReferencesResolved", "ConfigMapNotFound")
    assert "spec.systemPromptFrom.configMapKeyRef" in message

    troubled.run("create", "configmap", "prompt", "--from-literal=text=You are brief.")
    troubled.ready("promptless")


def test_a_missing_service_account_is_named_and_its_coming_heals(troubled: Namespace) -> None:
    message = troubled.says("accountless", "ReferencesResolved", "ServiceAccountNotFound")
    assert "'clerk'" in message

    troubled.run("create", "serviceaccount", "clerk")
    troubled.ready("accountless")


def test_a_missing_component_is_named_and_its_coming_heals(troubled: Namespace) -> None:
    message = troubled.says("storeless", "ReferencesResolved", "ComponentNotFound")
    assert "'our-store'" in message

    # Scoped: a second actor state store in sight would end the sidecars of the others.
    store = {"type": "state.in-memory", "version": "v1", "metadata": [{"name": "actorStateStore", "value": "true"}]}
    component = {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "our-store"}}
    troubled.apply(component | {"spec": store, "scopes": ["storeless"]})
    troubled.ready("storeless")


def test_a_name_that_somebody_else_has_is_never_taken_over_and_its_going_heals(troubled: Namespace) -> None:
    message = troubled.says("taken", "Accepted", "ChildNameTaken")
    assert "Service" in message
    theirs = troubled.get("service", "taken")
    assert "ownerReferences" not in theirs["metadata"]
    assert theirs["spec"]["ports"][0]["port"] == TAKEN["spec"]["ports"][0]["port"]

    troubled.run("delete", "service", "taken")
    troubled.ready("taken")


def test_a_bad_change_leaves_the_old_pod_at_work_and_says_so(namespace: Namespace) -> None:
    namespace.apply(agent("steady"))
    namespace.ready("steady")
    (before,) = namespace.pods("steady")

    namespace.apply(agent("steady", image=NO_IMAGE))
    message = namespace.says("steady", "Available", "ImagePullFailed")
    assert "1 of an earlier revision keep serving" in message
    assert before["metadata"]["uid"] in [pod["metadata"]["uid"] for pod in namespace.pods("steady") if is_ready(pod)]

    namespace.apply(agent("steady"))
    namespace.ready("steady")
    assert [pod["metadata"]["uid"] for pod in namespace.pods("steady") if is_ready(pod)] == [before["metadata"]["uid"]]


def is_ready(pod: Manifest) -> bool:
    return any((found["type"], found["status"]) == ("Ready", "True") for found in pod["status"].get("conditions", []))


INJECTOR = "app=dapr-sidecar-injector"
DROP_ALL = "SIDECAR_DROP_ALL_CAPABILITIES"


@pytest.fixture
def injector() -> Iterator[Namespace]:
    """Dapr's injector, which the test may stop and turn; afterwards it is as it was."""
    (found,) = holdfast.get("deployments", "-A", "-l", INJECTOR)["items"]
    dapr = Namespace(found["metadata"]["namespace"])
    replicas = found["spec"]["replicas"]
    before = {each["name"]: each.get("value", "") for each in found["spec"]["template"]["spec"]["containers"][0]["env"]}[DROP_ALL]
    try:
        yield dapr
    finally:
        turn(dapr, replicas=replicas, drop_all=before)


def turn(dapr: Namespace, *, replicas: int, drop_all: str) -> None:
    """Set the injector's size and whether its sidecars drop all capabilities, and wait until it is so."""
    dapr.run("set", "env", "deployment/dapr-sidecar-injector", f"{DROP_ALL}={drop_all}")
    dapr.run("scale", "deployment/dapr-sidecar-injector", f"--replicas={replicas}")
    dapr.run("rollout", "status", "deployment/dapr-sidecar-injector", "--timeout=90s", timeout=100)
    eventually(lambda: len(dapr.names("pods", INJECTOR)) == replicas, within=60, what=f"{replicas} pods of the injector are left")


def test_pods_without_a_sidecar_and_sidecars_that_pod_security_refuses(injector: Namespace, namespace: Namespace) -> None:
    turn(injector, replicas=0, drop_all="false")
    namespace.apply(agent("alone"))
    message = namespace.says("alone", "Available", "SidecarNotInjected")
    assert "dapr-sidecar-injector" in message

    turn(injector, replicas=1, drop_all="false")
    namespace.apply(agent("refused"))
    message = namespace.says("refused", "Available", "PodSecurityRefused")
    assert "dapr_sidecar_injector.sidecarDropALLCapabilities=true" in message

    turn(injector, replicas=1, drop_all="true")
    namespace.ready("refused", within=180)
    namespace.ready("alone", within=180)
