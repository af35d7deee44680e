"""The first complete version of Holdfast, kept to upgrade from: the operator, the API and the chart as they were before runs had limits.

Packed from commit e898618 by `git archive e898618 operator/holdfast_operator crds charts | xz -9e`: whoever tests may not have the history.
"""

import tarfile
from pathlib import Path

PACKED = Path(__file__).parent / "data/first/holdfast.tar.xz"


def unpack(folder: Path) -> Path:
    """Put it into a folder, which is returned."""
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    return folder
