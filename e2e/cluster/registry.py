"""Does an image registry answer here? Asked once per `up`, and answered by hand with HOLDFAST_REGISTRY=yes|no."""

import os
import urllib.error
import urllib.request
from http import HTTPStatus

# the node image, the base images; Dapr's images
REGISTRIES = ("https://registry-1.docker.io/v2/", "https://ghcr.io/v2/")
TIMEOUT = 5.0


def answers() -> bool:
    """Tell whether all registries that a cluster needs answer."""
    said = os.environ.get("HOLDFAST_REGISTRY", "").lower()
    if said:
        return said in {"1", "yes", "true"}
    return all(_answers(url) for url in REGISTRIES)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError as error:
        # "who are you?" comes only from a registry; a proxy that refuses says something else
        return error.code == HTTPStatus.UNAUTHORIZED and "bearer" in error.headers.get("WWW-Authenticate", "").lower()
    except (OSError, ValueError):
        return False
