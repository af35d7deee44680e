"""Variables: the Secrets that daprd and the tools need, and `spec.env`, as the kubelet would set them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from holdfast_agent.local.documents import Documents
from holdfast_agent.local.faults import LocalError
from holdfast_api import names
from holdfast_api.v1alpha1 import SecretKeyRef

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_BASE = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def base(environ: Mapping[str, str]) -> dict[str, str]:
    """What every program needs of the user's own environment. No more: in a pod there would be no more either."""
    return {name: environ[name] for name in _BASE if name in environ}


def variable(ref: SecretKeyRef) -> str:
    """The variable that stands in for a Secret's key here, for example OPENAI_API_KEY for key `api-key` of Secret `openai`."""
    return re.sub(r"[^A-Z0-9]", "_", f"{ref.name}_{ref.key}".upper())


def secret_environ(refs: Iterable[SecretKeyRef], documents: Documents, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for these keys, named as in a cluster; values from the documents, else from the user's environment.

    Raises:
        LocalError: some are found nowhere; the message names the variables to set.
    """
    found, missing = {}, []
    for ref in refs:
        value = documents.secrets.get(ref.name, {}).get(ref.key, environ.get(variable(ref)))
        if value is None:
            missing.append(f"Secret {ref.name!r}, key {ref.key!r}: set {variable(ref)}")
        else:
            found[names.secret_env(ref.name, ref.key)] = value
    if missing:
        raise LocalError("\n  ".join(["secrets are missing (set the variable, or give the Secret's YAML with --secrets FILE):", *missing]))
    return found


def container_environ(documents: Documents) -> dict[str, str]:
    """`spec.envFrom` and `spec.env`, with `$(NAME)` filled in.

    Raises:
        LocalError: a value comes from something that is not there.
    """
    found: dict[str, str] = {}
    for index, source in enumerate(documents.agent.spec.env_from or []):
        found |= _from(f"spec.envFrom[{index}]", source, documents)
    for index, entry in enumerate(documents.agent.spec.env or []):
        path = f"spec.env[{index}] ({entry.get('name')})"
        if "valueFrom" in entry:
            value = _value_from(path, entry["valueFrom"], documents)
            found |= {entry["name"]: value} if value is not None else {}
        else:
            found[entry["name"]] = _expand(str(entry.get("value", "")), found)
    return {name: value for name, value in found.items() if not name.startswith(("DAPR_", "HOLDFAST_")) and name != names.ENV_APP_TOKEN}


def _expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` is filled in when it is known and left when it is not; `$$` is a dollar sign."""
    return _REFERENCE.sub(lambda match: "$" if match.group(0) == "$$" else known.get(match.group(1), match.group(0)), text)


def _from(path: str, source: Mapping[str, Any], documents: Documents) -> dict[str, str]:
    prefix = str(source.get("prefix") or "")
    for kind, field, known in (("ConfigMap", "configMapRef", documents.config_maps), ("Secret", "secretRef", documents.secrets)):
        if ref := source.get(field):
            data = known.get(str(ref.get("name")))
            if data is None and not ref.get("optional"):
                raise LocalError(f"{path}: {kind} {ref.get('name')!r} is not in the files")
            return {prefix + key: value for key, value in (data or {}).items()}
    return {}


def _value_from(path: str, source: Mapping[str, Any], documents: Documents) -> str | None:
    for kind, field, known in (("ConfigMap", "configMapKeyRef", documents.config_maps), ("Secret", "secretKeyRef", documents.secrets)):
        if ref := source.get(field):
            value = known.get(str(ref.get("name")), {}).get(str(ref.get("key")))
            if value is None and not ref.get("optional"):
                raise LocalError(f"{path}: key {ref.get('key')!r} of {kind} {ref.get('name')!r} is not in the files")
            return value
    if ref := source.get("fieldRef"):
        metadata = documents.agent.metadata
        fields = {"metadata.name": metadata.name, "metadata.namespace": metadata.namespace}
        if ref.get("fieldPath") in fields:
            return fields[ref["fieldPath"]]
    raise LocalError(f"{path}: valueFrom {', '.join(source)} has no meaning without a cluster: give a value")
