"""Beginning anew with what one member holds, when most of the others are gone for good (`--reinit`).

A cluster that has lost its majority decides nothing any more, on purpose: nobody can tell whether the others are gone or
merely out of reach. An operator can. The member keeps its id and its shards and is the only one from then on; the others are
removed, as by force. Where no in-sync replica is left, the replica here is taken for the shard, in whatever state it
is, and a warning names it: what it lacks is lost. The others must not be started again with their storage; if they are, they
find themselves removed.
"""

from __future__ import annotations

import logging
from pathlib import Path

from qnode.errors import CannotStart
from qnode.models.topology import Topology
from qnode.models.topology_commands import ForcePrimary, RemovePeer, SingleCommand
from qnode.raft import apply_command
from qnode.raft.cluster_log import refound

_log = logging.getLogger(__name__)


def reinitialise(journal: Path, me: int) -> None:
    """Make this stopped member the only one; nothing happens if it is. Raise CannotStart where it is no member."""
    if refound(journal, me, lambda topology: _left_to(topology, me)):
        _log.warning("this node begins anew as the only member of its cluster (--reinit)")
    else:
        _log.info("--reinit changes nothing: this node is the only member of its cluster")


def _left_to(topology: Topology, me: int) -> Topology:
    """Give the topology in which everybody else is gone."""
    if me not in topology.peers:
        raise CannotStart("--reinit: this node is no member of a cluster")
    for peer in [peer for peer in topology.peers if peer != me]:
        topology = _changed(topology, RemovePeer(peer, force=True))
    for name, number, shard in list(topology.shards_on(me)):
        if shard.primary is None:
            _log.warning(
                "shard %d of collection %s has no replica in sync any more: it goes on with the one here (%s)",
                number,
                name,
                shard.replicas[me],
            )
            topology = _changed(topology, ForcePrimary(name, number, me, shard.epoch))
    return topology


def _changed(topology: Topology, command: SingleCommand) -> Topology:
    topology, rejected = apply_command(topology, command)
    assert rejected is None, rejected
    return topology
