"""What is mounted, and how to unmount it: needed before anything is removed that a killed process may have left mounted."""

import re
from pathlib import Path

from e2e.cluster import shell

MOUNTINFO = Path("/proc/self/mountinfo")


def mount_points(mountinfo: str) -> list[str]:
    """List all mount points, in the order of mounting; octal escapes undone."""
    points = [line.split()[4] for line in mountinfo.splitlines() if len(line.split()) > 4]  # noqa: PLR2004 - fields of proc(5)
    return [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point) for point in points]


def below(points: list[str], root: Path) -> list[str]:
    """List the mount points at or below a folder, deepest and latest first: the order in which to unmount."""
    prefix = str(root)
    inside = [point for point in points if point == prefix or point.startswith(prefix + "/")]
    inside.reverse()
    return sorted(inside, key=lambda point: -point.count("/"))


def unmount_below(root: Path) -> list[str]:
    """Unmount everything at or below a folder, lazily where it is busy."""
    gone = []
    for point in below(mount_points(MOUNTINFO.read_text()), root):
        if shell.answer(["umount", point])[0] != 0:
            shell.answer(["umount", "-l", point])
        gone.append(point)
    return gone
