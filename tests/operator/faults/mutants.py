"""Bugs that are put into a copy of the operator, to see whether the oracles tell of them."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.operator.faults.campaign import carry_out_with, judge
from tests.operator.faults.case import Life
from tests.operator.faults.plan import Plan
from tests.operator.live import ROOT, Api

SECONDS = 150.0
PACKAGE = ROOT / "operator" / "holdfast_operator"


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        name: what somebody forgot or got wrong.
        file: where, in the package.
        right: text that is there once.
        wrong: what it becomes.
        plans: faults under which it should show; drawn ones are added.
    """

    name: str
    file: str
    right: str
    wrong: str
    plans: tuple[str, ...] = ()


MUTANTS = (  # only what a cluster could see: what makes no difference while watches work is no bug that anybody could tell of
    Mutant(
        "a dropped requeue",
        "queue.py",
        "        self.add(key, now + delay)\n        return delay",
        "        return delay",
        ("500 PATCH deployments/a",),
    ),
    Mutant(
        "events during a look are lost",
        "queue.py",
        "            self._meanwhile[key] = min(due, self._meanwhile.get(key, due))",
        "            return",
    ),
    Mutant(
        "a swallowed 409",
        "children.py",
        "            if known and error.status in {404, 409} and not error.not_served:\n",
        "            if error.status in {404, 409}:\n                return\n            if known:\n",
        ("409 PATCH services/a", "409 PATCH deployments/a"),
    ),
    Mutant(
        "a child forgotten at a 409",
        "children.py",
        "                await self._read_anew(kind, name, found)\n            raise",
        "                self._forget(kind, name, found)\n            raise",
        ("409 PATCH components/a-llm-6cf5987e 2",),
    ),
    Mutant(
        "delete, then create",
        "children.py",
        "            live = await write(self._cluster, self._record, child.kind, manifest, force=known is not None)",
        "            if known:\n                await self._cluster.delete(child.kind, self._namespace, child.name, uid=known.uid)\n"
        "                manifest = child.manifest\n            live = await self._cluster.apply(child.kind, manifest, force=True)",
    ),
    Mutant("a forgotten owner reference", "desired/meta.py", '        "ownerReferences": [owner_reference(agent)],\n', ""),
    Mutant("an owner that is no controller", "desired/meta.py", '"controller": True', '"controller": False'),
    Mutant(
        "a failed write counts as done",
        "children.py",
        "            raise_first(results)\n",
        "",
        ("500 PATCH services/a", "409 PATCH resiliencies/b"),
    ),
    Mutant(
        "nothing is pruned",
        "children.py",
        "            if not settled and kind not in _NO_POD_NEEDS:\n",
        "            if True:\n",
    ),
    Mutant(
        "pruned before the rollout", "children.py", "            if not settled and kind not in _NO_POD_NEEDS:\n", "            if False:\n"
    ),
    Mutant(
        "superseded revisions are removed at once",
        "children.py",
        "            if not kind.versioned:\n                await self._delete",
        "            if True:\n                await self._delete",
    ),
    Mutant(
        "no first look at what is there",
        "children.py",
        "            raise Blocked(findings, again=LOOK_AGAIN)\n        if former",
        "            return\n        if former",
    ),
    Mutant("drift is not seen", "memory.py", "        return found.digest == wanted or", "        return True or"),
    Mutant("everything is applied at every look", "memory.py", "        return found.digest == wanted or", "        return False and"),
    Mutant(
        "a lost child is not missed",
        "intake.py",
        '                self._lost(key, place, metadata["resourceVersion"])\n        elif',
        "                pass\n        elif",
    ),
    Mutant(
        "a changed child is no news",
        "intake.py",
        "record.saw(place, seen(kind, live)):\n            self._news(",
        "record.saw(place, seen(kind, live)):\n            (",
    ),
    Mutant("a changed reference is no news", "intake.py", "            self.due(needing)", "            pass"),
    Mutant(
        "the rollout is not followed",
        "intake.py",
        "            record.deployment = facts\n            self._news(key, (DEPLOYMENT, key[1]), known.version)",
        "            record.deployment = facts",
    ),
    Mutant("the status is written at every look", "reconcile.py", "        if status == before:\n            return\n", ""),
    Mutant(
        "the status is never written again",
        "reconcile.py",
        "        if status == before:\n            return\n",
        "        if before.get('revision'):\n            return\n",
    ),
    Mutant(
        "the generation is not told", "status.py", '        "observedGeneration": generation,\n        "conditions"', '        "conditions"'
    ),
    Mutant(
        "a 500 is believed to be for ever",
        "cluster.py",
        "or (self.status >= 500 and not self.unfit)",
        "or False",
        ("500 PATCH services/a", "500 PATCH deployments/a"),
    ),
    Mutant(
        "a dead connection is an error of the user",
        "cluster.py",
        "{_UNREACHABLE, 401, 408, 429}",
        "{401, 408, 429}",
        ("reset PATCH services/a",),
    ),
    Mutant(
        "a watch of Agents that is too old is asked for again and again",
        "session.py",
        'if answer.status == HTTPStatus.GONE and (watching or "continue" in request.url.query):',
        "if False:",
        ("410 WATCH agents",),
    ),
    Mutant(
        "a watch of children that is too old is asked for again and again",
        "watch.py",
        '        self._reached, self._version, self._deaf = self._version or self._reached, "", 0\n',
        "        self._deaf = 0\n",
        ("410 WATCH services", "410 WATCH deployments"),
    ),
    Mutant(
        "a watch of children ends for good when it is too old",
        "watch.py",
        "                self._doubt(error)\n",
        "                self._doubt(error)\n                if error.status == HTTPStatus.GONE:\n                    return\n",
        ("410 WATCH services",),
    ),
    Mutant(
        "tokens are made after the Deployment's failure only",
        "children.py",
        "        if there and not missed and not record.tokens_doubted:",
        "        if not missed:",
    ),
    Mutant(
        "the Secret that is there is an error",
        "cluster.py",
        'if error.status == 409 and error.reason == "AlreadyExists"',
        "if False",
        ("kill-after POST secrets/a-app-token",),
    ),
)


def changed(mutant: Mutant, folder: Path) -> Path:
    """A copy of the package with the bug in it; the folder to put on Python's path.

    Raises:
        ValueError: the text is not there once, so the list has to be brought up to date.
    """
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / PACKAGE.name / mutant.file
    text = file.read_text()
    if text.count(mutant.right) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has the text {text.count(mutant.right)} times, not once: {mutant.right!r}")
    file.write_text(text.replace(mutant.right, mutant.wrong))
    return folder


def noticed(
    api: Api, folder: Path, mutants: Sequence[Mutant], *, drawn: list[Plan], reference: Life, at_once: int
) -> Iterator[tuple[str, Life, str]]:
    """Live with each bug: first undisturbed, then those that nobody has noticed under their own faults, then under drawn ones.

    Yields:
        What told of a bug, as soon as one thing does: its name, the life, what was wrong.
    """
    unnoticed = {changed(mutant, folder / f"bug-{number}"): mutant for number, mutant in enumerate(mutants)}
    stages = (
        [(None, place) for place in unnoticed],
        [(Plan.parse(text), place) for place, mutant in unnoticed.items() for text in mutant.plans],
        [(plan, place) for plan in drawn for place in unnoticed],
    )
    for pairs in stages:
        for life in carry_out_with(api, folder, pairs, at_once=at_once, seconds=SECONDS, wanted=unnoticed.__contains__):
            if (problems := judge(life, reference)) and life.package in unnoticed:
                yield unnoticed.pop(life.package).name, life, problems[0]
