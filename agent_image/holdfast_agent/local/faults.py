"""The one exception of this package."""


class LocalError(Exception):
    """Something keeps an agent from running here; the message names it and the fix, in one or a few lines."""
