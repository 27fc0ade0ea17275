"""Golden scenarios: events in, actions out, one shard of one node a file, named after what it proves.

A line is an event; the lines behind it that are set in are the actions that it gives. `at` sets the time in seconds. Operations
are written as op_num:epoch; `revision` of an answer is that which its sender obeys, else the newest. With QNODE_REWRITE_SCENARIOS=1 the actions are written anew: to be read before they are committed.
"""

import os
from pathlib import Path

import pytest

from qnode.shards.replication import ReplicaState, Shard, ShardView
from qnode.shards.replication import actions as do
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.messages import Append, Appended, Message, Reason, Refused
from qnode.shards.replication.view import HandOver, SetState, Settings
from qnode.wal import Record

NEWEST = 1_000_000
"""The revision that a peer obeys where a scenario does not say it."""

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


class Player:
    """Plays the events of a scenario."""

    def __init__(self) -> None:
        self.now = 0.0
        self.shard: Shard | None = None

    def play(self, line: str) -> list[str]:
        event, *words = line.split()
        given = dict(word.split("=") for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        if event == "node":
            epochs = [int(epoch) for epoch in given.get("log", "").split(",") if epoch]
            first_op = int(given.get("first", 1))
            records = [Record(epoch, op_num, b"") for op_num, epoch in enumerate(epochs, first_op)]
            image = LogImage.of(first_op, int(given.get("before", 0)), records)
            settings = Settings(window_ops=3, join_distance_ops=1)
            self.shard = Shard(int(plain[0]), settings, image, int(given.get("applied", first_op - 1)))
            return []
        if event == "at":
            self.now = float(plain[0])
            return []
        assert self.shard is not None
        return [shown(action) for action in self._actions(self.shard, event, plain, given)]

    def _actions(self, shard: Shard, event: str, plain: list[str], given: dict[str, str]) -> list[do.Action]:
        if event == "view":
            replicas = {int(peer): ReplicaState(state) for peer, state in given.items() if peer.isdigit()}
            primary = int(given["primary"])
            floor = int(given.get("floor", 1))
            parts = (part.split(":") for part in given.get("added", "").split(",") if part)
            added = dict.fromkeys(replicas, 1) | {int(peer): int(revision) for peer, revision in parts}
            view = ShardView(primary, int(given["epoch"]), int(given["revision"]), replicas, floor, added)
            return shard.topology_changed(view, self.now)
        if event == "link":
            return shard.link_changed(int(plain[0]), plain[1] == "up", self.now, has_left=plain[1] == "left")
        if event == "hand_over":
            return shard.hand_over([int(peer) for peer in plain], float(given["seconds"]), self.now)
        if event == "write":
            return shard.write([word.encode() for word in plain], self.now)
        if event == "receive":
            return shard.received(int(plain[0]), message_of(plain[1], given), self.now)
        if event == "tick":
            return shard.tick(self.now)
        if event == "copied":
            return shard.copied(int(plain[0]), int(plain[1]), self.now)
        report = {
            "appended": shard.appended,
            "synced": shard.synced,
            "refused": shard.refused,
            "applied": shard.applied,
        }
        return report[event](int(plain[0]), self.now)


def message_of(kind: str, given: dict[str, str]) -> Message:
    epoch = int(given["epoch"])
    if kind == "append":
        prev_op, prev_epoch = position_of(given["prev"])
        epochs = [int(word) for word in given.get("records", "").split(",") if word]
        records = tuple(Record(each, op_num, b"") for op_num, each in enumerate(epochs, prev_op + 1))
        return Append(epoch, prev_op, prev_epoch, int(given.get("commit", 0)), records)
    revision = int(given.get("revision", NEWEST))
    if kind == "appended":
        return Appended(epoch, int(given["logged"]), int(given["applied"]), revision)
    hint_op, hint_epoch = position_of(given.get("hint", "0:0"))
    applied_op = int(given.get("applied", 0))
    return Refused(epoch, Reason[kind], int(given["prev"]), hint_op, hint_epoch, applied_op, revision)


def position_of(word: str) -> tuple[int, int]:
    op_num, _, epoch = word.partition(":")
    return int(op_num), int(epoch)


def shown(action: do.Action) -> str:
    match action:
        case do.Store(ticket, truncate_from, records):
            cut = "" if truncate_from is None else f" cut_from={truncate_from}"
            return f"store {ticket}{cut} {' '.join(f'{record.op_num}:{record.epoch}' for record in records)}"
        case do.SendRecords(peer, epoch, prev_op, prev_epoch, last_op, commit_op):
            ops = f"{prev_op + 1}..{last_op}" if last_op > prev_op else "none"
            return f"send {peer} epoch={epoch} prev={prev_op}:{prev_epoch} records={ops} commit={commit_op}"
        case do.Answer(peer, Appended(epoch, logged_op, applied_op, _)):
            return f"answer {peer} appended epoch={epoch} logged={logged_op} applied={applied_op}"
        case do.Answer(peer, Refused(epoch, reason, prev_op, hint_op, hint_epoch, applied_op, _)):
            hint = f"hint={hint_op}:{hint_epoch}"
            return f"answer {peer} {reason.name} epoch={epoch} prev={prev_op} {hint} applied={applied_op}"
        case do.Propose(SetState(peer, state, epoch, revision)):
            return f"propose {peer}={state} epoch={epoch} revision={revision}"
        case do.Propose(HandOver(peer, epoch)):
            return f"propose primary={peer} epoch={epoch}"
        case do.ApplyTo(number) | do.Acknowledge(number) | do.Complete(number):
            return f"{type(action).__name__.lower().removesuffix('to')} {number}"
        case do.Refuse(number) | do.StepDown(number) | do.NeedsCopy(number):
            return f"{ {'Refuse': 'refuse_from', 'StepDown': 'step_down', 'NeedsCopy': 'needs_copy'}[type(action).__name__] } {number}"
    raise AssertionError(action)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    player = Player()
    played: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("    "):
            continue
        played.append(line)
        if line and not line.startswith("#"):
            played += [f"    {action}" for action in player.play(line)]
    text = "\n".join(played) + "\n"
    if os.environ.get("QNODE_REWRITE_SCENARIOS"):
        path.write_text(text)
    assert path.read_text() == text
