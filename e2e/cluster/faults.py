"""The one exception that people may see: what went wrong, what to do about it, and where to read more."""

from pathlib import Path

TAIL_LINES = 12


class Fault(Exception):  # noqa: N818 - read as a sentence it is a fault, not an "error error"
    """Something that the reader can act on; printed without a traceback."""

    def __init__(self, what: str, *, fix: str = "", log: Path | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.log = log

    def report(self) -> str:
        """Give the whole message: what, the end of the log, its path, the fix."""
        lines = [f"error: {self.what}"]
        if self.log is not None:
            lines += [f"    | {line}" for line in tail(self.log)]
            lines.append(f"  log: {self.log}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def tail(log: Path, count: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a log, or nothing when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]
