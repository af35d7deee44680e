"""Where the API server is and who we are: the service account inside a cluster, else the kubeconfig. Read anew before it gets old.

Kopf's own readers are used, so that its watches and our requests never disagree, and so that no client library is needed.
"""

import time
from collections.abc import Callable

import kopf
import yaml

MAX_AGE_SECONDS = 300.0
"""The kubelet renews a service account's token long before its hour is over; a file that is read this often is always good."""


class NoClusterError(Exception):
    """Neither a service account nor a kubeconfig can be used; the message tells what to do."""


def read() -> kopf.ConnectionInfo:
    """Read the credentials.

    Raises:
        NoClusterError: there are none.
    """
    settings = kopf.OperatorSettings()
    try:
        found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError, kopf.LoginError) as error:
        raise NoClusterError(f"the kubeconfig cannot be used ({error}): set KUBECONFIG to one with a current context") from None
    if found is None:
        raise NoClusterError("there is no cluster: run inside one, or set KUBECONFIG")
    return found


class Credentials:
    """Credentials that stay fresh."""

    def __init__(self, source: Callable[[], kopf.ConnectionInfo] = read, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read them for the first time.

        Raises:
            NoClusterError: there are none.
        """
        self._source, self._clock = source, clock
        self._info, self._read_at = source(), clock()

    def current(self) -> kopf.ConnectionInfo:
        """The credentials, read again when they are old. While they cannot be read, the old ones go on."""
        if self._clock() - self._read_at > MAX_AGE_SECONDS / 2:
            self.renew()
        return self._info

    def renew(self) -> None:
        """Read them now, because the API server did not accept them or they are old."""
        self._read_at = self._clock()
        try:
            self._info = self._source()
        except NoClusterError:
            return
