"""Texts of ConfigMaps that an Agent refers to."""

from collections.abc import Mapping

from holdfast_api import conditions
from holdfast_api.refused import Refused
from holdfast_api.v1alpha1 import ConfigMapKeyRef

ConfigMaps = Mapping[str, Mapping[str, str] | None]
"""Name of a ConfigMap -> its data; None when it does not exist."""


def text(path: str, ref: ConfigMapKeyRef, config_maps: ConfigMaps) -> str:
    """The text.

    Args:
        path: the field that refers to it, for messages.
        ref: where it is.
        config_maps: what there is.

    Raises:
        Refused: it is not there.
    """
    data = config_maps.get(ref.name)
    if data is None:
        raise Refused(
            conditions.CONFIG_MAP_NOT_FOUND,
            f"{path}: ConfigMap {ref.name!r} does not exist: create it in the Agent's namespace",
            condition=conditions.REFERENCES_RESOLVED,
        )
    if ref.key not in data:
        have = ", ".join(sorted(data)) or "none"
        raise Refused(
            conditions.CONFIG_MAP_KEY_NOT_FOUND,
            f"{path}: ConfigMap {ref.name!r} has no key {ref.key!r} (it has: {have}): add the key, or name one that is there",
            condition=conditions.REFERENCES_RESOLVED,
        )
    return data[ref.key]
