"""Replicas of a shard while links are cut, primaries change, nodes stop and start, and logs are too short: by chance.

QNODE_TEST_SEED repeats a failure: the seed of a test is printed. One seed does not give the same run again, for threads take part.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from qnode.errors import NotYetApplied, QnodeError, UnknownOutcome
from qnode.models.point_id import key_of
from qnode.shards.replication import ReplicaState
from tests.shards.shard_group import Group, content, running, upsert

SEED = int(os.environ.get("QNODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
STEPS = 60


class Faults:
    """Does something to a group, chosen by chance, and remembers what the writers were told."""

    def __init__(self, group: Group, chance: random.Random, directory: Path) -> None:
        self.group, self.chance, self.directory = group, chance, directory
        self.answers: dict[int, asyncio.Future[int]] = {}
        self.copies = 0

    async def step(self) -> None:
        acts = [
            self.write,
            self.write,
            self.write,
            self.cut,
            self.connect,
            self.restart,
            self.change_primary,
            self.heal,
        ]
        await self.chance.choice(acts)()
        for _ in range(self.chance.randrange(4)):
            await self.turn()

    async def turn(self) -> None:
        for node in self.group.nodes.values():
            if node.shard is not None:
                await node.shard.run(lambda: None)

    async def write(self) -> None:
        primary = self.group.nodes[self.group.view.primary or 1].shard
        for _ in range(self.chance.choice([1, 5, 30]) if primary is not None else 0):
            number = len(self.answers)
            request = upsert([number], pad="x" * self.chance.choice([0, 10, 3000]))
            self.answers[number] = primary.submit(request, wait=self.chance.random() < 0.5)

    async def cut(self) -> None:
        one, other = self.chance.sample(sorted(self.group.nodes), 2)
        self.group.cut(one, other)

    async def connect(self) -> None:
        for peer, node in self.group.nodes.items():
            node.sees_topology = True
            for other in range(peer + 1, len(self.group.nodes) + 1):
                both_run = node.shard is not None and self.group.nodes[other].shard is not None
                if both_run and other not in node.links:
                    self.group.connect(peer, other)
        self.group.show()

    async def restart(self) -> None:
        peer = self.chance.choice(sorted(self.group.nodes))
        if self.group.nodes[peer].shard is None:
            await self.group.start(peer)
        else:
            await self.group.stop(peer)

    async def change_primary(self) -> None:
        view = self.group.view
        running = {peer for peer in view.active if self.group.nodes[peer].shard is not None} - {view.primary}
        if running and view.primary is not None:
            if self.group.nodes[view.primary].shard is not None and self.chance.random() < 0.7:
                self.group.isolate(view.primary)
            self.group.make_primary(self.chance.choice(sorted(running)))

    async def heal(self) -> None:
        """Do what a cluster's leader would: let the dead follow again, and copy where a log does not reach."""
        view = self.group.view
        for peer, state in view.replicas.items():
            if state is ReplicaState.DEAD and self.group.nodes[peer].shard is not None:
                self.group.set_state(peer, ReplicaState.PARTIAL)
        for peer in self.group.nodes:
            if await self.group.awaits_copy(peer, view.primary or 1):
                self.copies += 1
                await self.group.copy_to(peer, self.directory / f"copy {self.copies}")

    async def end(self) -> None:
        """Let everything come back, and a last write reach all."""
        for peer, node in self.group.nodes.items():
            if node.shard is None:
                await self.group.start(peer)
        await self.connect()
        is_everywhere = False
        while not is_everywhere:
            while len(self.group.view.active) < len(self.group.nodes):
                await self.heal()
                await self.turn()
            await self.group.shard(self.group.view.primary or 1).submit(upsert([1_000_000]))
            is_everywhere = len(self.group.view.active) == len(self.group.nodes)


@pytest.mark.parametrize("number", range(6))
def test_what_was_acknowledged_stays_and_replicas_agree(tmp_path: Path, number: int) -> None:
    print(f"QNODE_TEST_SEED={SEED + number}")
    chance = random.Random(SEED + number)

    async def run() -> None:
        async with running(tmp_path, 3, keep_log_bytes=chance.choice([1, 32 << 20])) as group:
            faults = Faults(group, chance, tmp_path)
            for _ in range(STEPS):
                await faults.step()
            await faults.end()
            await group.assert_same_content()
            assert all(node.shard is not None and node.shard.fault is None for node in group.nodes.values())
            outcomes = await asyncio.gather(*faults.answers.values(), return_exceptions=True)
            shown = {point[0] for point in content(group.shard(1))}
            for written, outcome in enumerate(outcomes):
                if isinstance(outcome, int | NotYetApplied):
                    assert key_of(written) in shown, f"{written} was answered with {outcome} and is gone"
                elif not isinstance(outcome, UnknownOutcome):
                    assert isinstance(outcome, QnodeError)
                    assert key_of(written) not in shown, f"{written} was refused with {outcome} and is there"

    async def run_in_time() -> None:
        async with asyncio.timeout(60):
            await run()

    asyncio.run(run_in_time())
