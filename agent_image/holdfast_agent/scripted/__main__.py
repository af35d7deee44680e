"""`python -m holdfast_agent.scripted`."""

import sys

from holdfast_agent.scripted.command import main

if __name__ == "__main__":
    sys.exit(main())
