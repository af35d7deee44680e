"""`python3 -m e2e.cluster VERB`."""

from e2e.cluster.cli import run

run()
