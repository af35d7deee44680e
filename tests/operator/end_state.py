"""What there is in a namespace, in words that are the same for every run that ends alike."""

import copy
import json
import re
from typing import Any

from holdfast_operator import kinds
from holdfast_operator.desired.deployment import ANNOTATION_DAPR
from holdfast_operator.desired.pins import ANNOTATION_KEPT
from holdfast_operator.desired.standing import ANNOTATION_MARK
from tests.operator.live import Api

VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)")


def state(api: Api, namespace: str) -> dict[str, Any]:
    """Everything in the namespace that is the operator's, without what differs from run to run."""
    found = {}
    for kind in (*kinds.CHILDREN, kinds.SECRET, kinds.AGENT):
        for live in api.list(kind, namespace):
            if kind != kinds.AGENT and not live["metadata"].get("ownerReferences"):
                continue
            kept = copy.deepcopy(live)
            kept["metadata"] = {name: value for name, value in kept["metadata"].items() if name not in VOLATILE}
            kept["metadata"].pop("namespace")
            for ref in kept["metadata"].get("ownerReferences", ()):
                ref.pop("uid")
            kept.pop("data", None) if kind == kinds.SECRET else None
            for condition in kept.get("status", {}).get("conditions", ()):
                condition.pop("lastTransitionTime")
            if kind == kinds.DEPLOYMENT:  # how often it was changed, and digests over objects that hold the namespace's name
                kept.get("status", {}).pop("observedGeneration", None)
                kept["spec"]["template"]["metadata"]["annotations"].pop(ANNOTATION_DAPR)
                pinned = kept["metadata"].get("annotations", {})
                pinned.pop(ANNOTATION_MARK, None)  # a seeded bug is another program, and that alone does not count
                if ANNOTATION_KEPT in pinned:
                    pinned[ANNOTATION_KEPT] = str(json.loads(pinned[ANNOTATION_KEPT]) | {"template": ""})
            text = _without_addresses(str(kept).replace(namespace, "NS"), live)
            found[f"{kind.kind}/{live['metadata']['name']}"] = _TIME.sub("TIME", text)
    return found


def _without_addresses(text: str, live: dict) -> str:
    for address in live.get("spec", {}).get("clusterIPs", ()):
        text = text.replace(address, "IP")
    return text
