"""`python -m holdfast_agent.local`, the same as `python -m holdfast_agent run`."""

import sys

from holdfast_agent.local.command import main

if __name__ == "__main__":
    sys.exit(main())
