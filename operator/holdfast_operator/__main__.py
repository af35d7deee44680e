"""`python -m holdfast_operator`: read the settings, find the cluster, work until told to stop."""

import asyncio
import logging
import sys

from holdfast_operator import logs
from holdfast_operator.app import LeaseLost, Operator
from holdfast_operator.credentials import Credentials, NoClusterError
from holdfast_operator.settings import SettingError, Settings, from_environment

logger = logging.getLogger(__name__)


async def _run(settings: Settings) -> int:
    try:
        await Operator(settings, Credentials()).run()
    except NoClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except LeaseLost as error:
        logger.error("%s", error)  # noqa: TRY400 - no traceback: this is how a standby comes into its right
        return 1
    except OSError as error:
        logger.error("port %d: %s", settings.http_port, error)  # noqa: TRY400 - the sentence says it
        return 1
    return 0


def main() -> int:
    """Run the operator.

    Returns:
        The exit code: 0 told to stop, 1 cannot go on, 2 cannot start.
    """
    try:
        settings = from_environment()
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format)
    return asyncio.run(_run(settings))


if __name__ == "__main__":
    sys.exit(main())
