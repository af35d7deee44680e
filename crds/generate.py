"""Write what is generated from the models.

That is the CRD, its copy in the chart, the chart's schema of `agents`, the JSON Schema for editors and docs/reference.md.

python crds/generate.py            write the files
python crds/generate.py --check    write nothing; fail and name the files that differ
"""

import json
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from core_v1 import core_v1
from holdfast_api import schema
from reference import reference

ROOT = Path(__file__).resolve().parent.parent
VALUES = ROOT / "charts/holdfast/values.schema.json"
HEADER = "# Generated from crds/holdfast_api by `make generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """No anchors: the same rule used twice is written twice, as people read it."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def files() -> dict[Path, str]:
    """Path -> text of every generated file."""
    manifest = HEADER + yaml.dump(schema.crd(core_v1), Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
    return {
        ROOT / "crds/agents.holdfast.dev.yaml": manifest,
        ROOT / "charts/holdfast/files/crds/agents.holdfast.dev.yaml": manifest,
        ROOT / "docs/reference.md": reference(core_v1),
        VALUES: _values_schema(),
        ROOT / "crds/agent.schema.json": json.dumps(schema.editor_schema(core_v1), indent=1) + "\n",
    }


def _values_schema() -> str:
    """The chart's schema: written by hand, but for `agents`, which the operator reads with a model."""
    values = json.loads(VALUES.read_text())
    values["properties"]["agents"] = schema.defaults_schema(core_v1)
    return json.dumps(values, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Returns 0, or 1 when `--check` finds a file that differs."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the models say: run `make generate` and commit the result")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files()[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
