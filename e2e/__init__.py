"""End-to-end: the cluster that the tests run on (`e2e.cluster`), and the tests themselves."""
