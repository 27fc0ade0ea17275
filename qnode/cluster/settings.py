"""How a node takes part in its cluster, taken from its configuration.

Who may connect is decided here: peers share a key, or have certificates, or talk on loopback alone; a node that other
machines could reach and that has neither does not start.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qnode import config
from qnode.channel import (
    Certificates,
    Credentials,
    Limits,
    limits_for_requests_of,
    loopback_only,
    with_certificates,
    with_key,
)
from qnode.channel.addresses import DEFAULT_PORT, is_loopback, parse_uri
from qnode.config import Configuration
from qnode.errors import BadInput, CannotStart
from qnode.raft import ConsensusSettings, Timing
from qnode.shards.placement import ReconcileSettings

_LOOKS_A_TICK: Final = 0.5
"""Consensus looks at its clock once in so much of the configured unit of time."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`uri`: where others reach this node; `bootstrap`: a peer through which it joins, None for the first of a cluster.

    `reinit`: begin anew as the only member, with what this node holds.
    """

    uri: str
    host: str
    port: int
    credentials: Credentials
    bootstrap: str | None = None
    reinit: bool = False
    peer_id: int | None = None
    name: str = ""
    zone: str | None = None
    bootstrap_timeout_seconds: float = 15.0
    failover_timeout_seconds: float = 1.0
    disk_timeout_seconds: float = 5.0
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    reconcile: ReconcileSettings = field(default_factory=ReconcileSettings)
    limits: Limits = field(default_factory=Limits)


def settings_from(configuration: Configuration) -> ClusterSettings:
    """Read what concerns the cluster; raise CannotStart naming what is missing."""
    cluster, performance = configuration.cluster, configuration.storage.performance
    try:
        uri = cluster.uri or _uri_towards(cluster.bootstrap, cluster.p2p.port or DEFAULT_PORT)
        own = parse_uri(uri)
        bootstrap = None if cluster.bootstrap is None or parse_uri(cluster.bootstrap) == own else cluster.bootstrap
    except BadInput as error:
        raise CannotStart(f"configuration: cluster.uri or cluster.bootstrap: {error}") from None
    is_local = own[0] == "localhost" or is_loopback(own[0])
    return ClusterSettings(
        uri=uri,
        host=cluster.p2p.host or (_loopback(own[0]) if is_local else "0.0.0.0"),
        port=cluster.p2p.port or own[1],
        credentials=_credentials(configuration, uri, is_local),
        bootstrap=bootstrap,
        reinit=cluster.reinit,
        peer_id=cluster.peer_id,
        name=cluster.name,
        zone=cluster.zone,
        bootstrap_timeout_seconds=cluster.consensus.bootstrap_timeout_sec,
        failover_timeout_seconds=cluster.failover_timeout_sec,
        disk_timeout_seconds=cluster.disk_timeout_sec,
        consensus=_consensus(cluster.consensus),
        limits=limits_for_requests_of(configuration.service.max_request_size_mb << 20),
        reconcile=ReconcileSettings(
            replace_after_seconds=cluster.replace_dead_replicas_after_sec,
            transfer_timeout_seconds=cluster.transfer_timeout_sec,
            incoming_transfers=performance.incoming_shard_transfers_limit,
            outgoing_transfers=performance.outgoing_shard_transfers_limit,
            spread_primaries=cluster.spread_primaries,
        ),
    )


def _uri_towards(bootstrap: str | None, port: int) -> str:
    """Guess this node's URI: the address from which this machine would talk to the bootstrap peer."""
    if bootstrap is None:
        raise CannotStart("a node of a cluster must know where others reach it: set cluster.uri (--uri, QDRANT_URI)")
    try:
        found = socket.getaddrinfo(*parse_uri(bootstrap), type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[4])
            host = str(probe.getsockname()[0])
    except OSError as error:
        raise CannotStart(
            f"this node's address cannot be guessed from {bootstrap} ({error}): set cluster.uri (--uri, QDRANT_URI)"
        ) from None
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _loopback(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _credentials(configuration: Configuration, uri: str, is_local: bool) -> Credentials:
    cluster, tls = configuration.cluster, configuration.tls
    if cluster.p2p.enable_tls:
        certificates = Certificates(Path(tls.ca_cert), Path(tls.cert), Path(tls.key))
        return with_certificates(certificates, cluster.key)
    if cluster.key is not None:
        return with_key(cluster.key)
    if not is_local:
        raise CannotStart(
            f"other machines could reach {uri}, and nothing tells peers from strangers: set cluster.key "
            f"(QDRANT__CLUSTER__KEY) to the same secret on every node, or cluster.p2p.enable_tls"
        )
    return loopback_only()


def _consensus(section: config.Consensus) -> ConsensusSettings:
    def ticks(count: float) -> float:
        return count * section.tick_period_ms / 1000

    timing = Timing(
        heartbeat=ticks(1.5), election_min=ticks(6), election_max=ticks(12), leader_fallback=ticks(12), resend=ticks(10)
    )
    return ConsensusSettings(
        timing, ticks(_LOOKS_A_TICK), section.compact_wal_entries, round(1000 * ticks(section.read_lease_ticks))
    )
