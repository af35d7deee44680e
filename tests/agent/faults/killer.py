"""Kills at random: a plan that follows from a seed, and the one who carries it out while runs go on."""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.agent.faults.house import PARTS, House, Part
from tests.agent.faults.oracles import Verdict, judge
from tests.agent.faults.world import ASKED, Plan

END_SECONDS = 300.0
"""How long a run may take to its end once nothing is killed any more. Standing still is found by the oracle, which is stricter."""


@dataclass(frozen=True)
class Stroke:
    """Wait, kill, leave down; in seconds."""

    wait: float
    part: Part
    down: float


def strokes(seed: int, *, least: float, most: float, parts: Sequence[Part] = PARTS) -> Iterator[Stroke]:
    """Without end. A part is down for up to two seconds."""
    dice = random.Random(seed)
    while True:
        yield Stroke(round(dice.uniform(least, most), 3), dice.choice(parts), round(dice.uniform(0, 2), 3))


def plans(seed: int, *, longest: int) -> Iterator[tuple[str, Plan]]:
    """Runs without end: 2 to `longest` turns with one to three calls each. One in four fails or is canceled, so that it is undone."""
    dice, number = random.Random(seed), 0
    while True:
        number += 1
        turns = tuple(tuple(dice.choices(ASKED, k=dice.randint(1, 3))) for _ in range(dice.randint(1, longest - 1)))
        yield f"run-{number}", Plan(turns, dice.choices(("answer", "failure", "cancel"), weights=(6, 1, 1))[0])


@dataclass
class Soak:
    """Runs one after another, so many at a time, while parts are killed.

    Attributes:
        turns: model turns to have in all, at least.
        seconds: when to begin no more runs, if the turns have not been reached.
        at_once: runs side by side.
        longest: turns of the longest run.
    """

    house: House
    seed: int
    turns: int
    seconds: float
    at_once: int
    longest: int
    least: float
    most: float
    parts: Sequence[Part] = PARTS
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    struck: list[Stroke] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _all_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out(self) -> Verdict:
        """Until enough turns were had; then everything is left alone until all runs have ended, and judged."""
        wanted, asked = plans(self.seed, longest=self.longest), 0
        killing = asyncio.create_task(self._kill())

        async def worker() -> None:
            nonlocal asked
            while asked < self.turns and time.monotonic() < self.began + self.seconds:
                run, plan = next(wanted)
                asked += len(plan.turns) + 1
                await self.house.begin(run, plan)
                canceling = asyncio.create_task(self._cancel(run, plan))
                self.views[run] = await self.house.ended(run, within=self.seconds + END_SECONDS)
                await canceling
            self._all_asked.set()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.at_once):
                    group.create_task(worker())
                group.create_task(self._calm(killing))
        finally:
            killing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killing
        return self.verdict()

    def verdict(self) -> Verdict:
        """Of what has been so far."""
        return judge(self.house.world.calls, self.house.kills, self.house.plans, self.views)

    async def _cancel(self, run: str, plan: Plan) -> None:
        """Cancel a run that is to be, once its last turn is asked for."""
        if plan.ends != "cancel":
            return
        calls = self.house.world.calls
        while not any(call.run == run and call.turn == len(plan.turns) for call in calls):  # noqa: ASYNC110 - a growing list has no event
            await asyncio.sleep(0.05)
        await self.house.cancel(run)

    async def _kill(self) -> None:
        for stroke in strokes(self.seed, least=self.least, most=self.most, parts=self.parts):
            await asyncio.sleep(stroke.wait)
            await self.house.kill(stroke.part, down=stroke.down)
            self.struck.append(stroke)

    async def _calm(self, killing: "asyncio.Task[None]") -> None:
        """Some time after the last run has begun, nothing is killed any more, and everything is up again."""
        await self._all_asked.wait()
        await asyncio.sleep(self.most)
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing
        for part in self.house.dead():
            self.house.process(part).start()
