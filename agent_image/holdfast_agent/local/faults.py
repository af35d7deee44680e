"""What goes wrong for whoever uses these commands."""


class LocalError(Exception):
    """Something keeps an agent from running here; the message names it and the fix, in one or a few lines."""


class UnknownRunError(LocalError):
    """There is no run of that id here."""
