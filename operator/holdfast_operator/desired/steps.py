"""Children as data, in the order they have to be there."""

from dataclasses import dataclass, field
from functools import cached_property

from holdfast_operator.desired.meta import Manifest
from holdfast_operator.kinds import Kind
from holdfast_operator.ownership import wanted_digest


@dataclass(frozen=True)
class Child:
    """One child as it should be.

    Attributes:
        kind: its kind.
        name: its name.
        manifest: what it should say; empty for one that is there and stays as it is.
    """

    kind: Kind
    name: str
    manifest: Manifest = field(default_factory=dict)

    @property
    def place(self) -> tuple[Kind, str]:
        """Kind and name, which tell it from its siblings."""
        return self.kind, self.name

    @cached_property
    def wanted(self) -> str:
        """Digest that `owned_digest` finds in the live object while it is as it should be."""
        return wanted_digest(self.manifest, metadata_only=self.kind.metadata_only)

    @property
    def stands(self) -> bool:
        """Whether it is neither written nor removed."""
        return not self.manifest


Steps = tuple[tuple[Child, ...], ...]
"""Children in steps: those of a step have no order among them, a later step needs the earlier ones."""
