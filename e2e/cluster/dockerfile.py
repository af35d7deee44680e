"""Building our own images: the root Dockerfile's targets, also behind a proxy with a certificate authority of its own.

What belongs to this machine (certificates, proxy, pip's index) goes into a throw-away image that only the Dockerfile's installing
stage starts from; the final stage starts from the clean base, so none of it is in a layer that we ship.
"""

import json
import os
import shutil
from pathlib import Path

from e2e.cluster import images, shell, tools
from e2e.cluster.engine import Engine
from e2e.cluster.places import Places
from e2e.cluster.progress import step

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
HOST_BUILD = "holdfast.local/python:3.11-build-host"
# pip settings that name something outside of the machine; those that name local folders mean nothing in a container
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries", "proxy")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def host_settings(environment: dict[str, str], pip_config: str) -> dict[str, str]:
    """Choose the settings of this machine that an installation in a container needs: pip's own, then the environment's."""
    chosen = {}
    for line in pip_config.splitlines():
        name, _, value = line.partition("=")
        setting = name.strip().rpartition(".")[2]
        if setting in PIP_SETTINGS:
            chosen["PIP_" + setting.upper().replace("-", "_")] = value.strip().strip("'\"")
    for setting in PIP_SETTINGS:
        variable = "PIP_" + setting.upper().replace("-", "_")
        if variable in environment:
            chosen[variable] = environment[variable]
    if "PIP_DEFAULT_TIMEOUT" in environment:
        chosen["PIP_DEFAULT_TIMEOUT"] = environment["PIP_DEFAULT_TIMEOUT"]
    for proxy in PROXIES:
        address = environment.get(proxy) or environment.get(proxy.upper())
        if address:
            chosen[proxy] = chosen[proxy.upper()] = address
    return chosen


def certificates(environment: dict[str, str]) -> Path | None:
    """Find this machine's certificate bundle."""
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        path = Path(environment.get(name, ""))
        if path.is_file():
            return path
    path = Path(CERTIFICATES)
    return path if path.is_file() else None


def host_dockerfile(base: str, settings: dict[str, str], *, bundle: bool) -> str:
    """Write the throw-away image: the base, this machine's certificates, its settings."""
    lines = [f"FROM {base}"]
    if bundle:
        lines += [f"COPY ca.crt {CERTIFICATES}"]
        settings = {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES, "REQUESTS_CA_BUNDLE": CERTIFICATES, **settings}
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in sorted(settings.items())]
    return "\n".join(lines) + "\n"


def build(here: Places, engine: Engine, target: str, tag: str, names: images.Names) -> None:
    """Build a target of the root Dockerfile."""
    if names.made_here:
        images.provide_python(here, engine)
    log = here.log(f"build-{target}")
    log.unlink(missing_ok=True)
    environment = dict(os.environ)
    with step(f"build {tag}", log):
        folder = here.state / "build-host"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bundle = certificates(environment)
        if bundle:
            shutil.copy(bundle, folder / "ca.crt")
        settings = host_settings(environment, shell.ask(["python3", "-m", "pip", "config", "list"]))
        (folder / "Dockerfile").write_text(host_dockerfile(names.python_build, settings, bundle=bundle is not None))
        docker: shell.Words = ["docker", "build", "--network", "host"]
        shell.run([*docker, "--tag", HOST_BUILD, folder], log, env=engine.environment(), timeout=600)
        arguments = ["--build-arg", f"PYTHON_BASE={names.python}", "--build-arg", f"PYTHON_BUILD_BASE={HOST_BUILD}"]
        argv: shell.Words = [*docker, *arguments, "--target", target, "--tag", tag, "--file", here.checkout / "Dockerfile", here.checkout]
        shell.run(argv, log, env=engine.environment(), timeout=1200, fix="see the log; the Dockerfile is at the root")
        tools.remove_tree(folder)
        # what earlier builds left; the last day's layers make the next build quick
        engine.ask("image", "prune", "--force", "--filter", "until=24h")
