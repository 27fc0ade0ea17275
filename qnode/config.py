"""The node's configuration: layers of YAML and environment, read once at start.

Later layers win, key by key: what is built in here; `config/config.yaml`; `config/$RUN_MODE.yaml` (development unless
set); `config/local.yaml`; the file of --config-path; `QDRANT_URI` and `QDRANT_BOOTSTRAP`; `QDRANT__SECTION__KEY`;
`QNODE__SECTION__KEY`; the command line. Keys are Qdrant's, so its files and variables work. Unknown keys are passed over;
a value of the wrong type stops the start. A node that is told its own or another peer's URI is one of a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qnode.errors import CannotStart
from qnode.models.collection import CollectionDefaults
from qnode.models.topology import LARGEST_PEER_ID

_FOLDER = Path("config")
_DEFAULT_RUN_MODE = "development"
_PREFIXES = ("QDRANT__", "QNODE__")
_SUFFIXES = (".yaml", ".yml")

Layer = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class Wal(_Section):
    """Defaults of `wal_config`. A shard keeps `wal_capacity_mb` of its log for replicas that fall behind."""

    wal_capacity_mb: int = 32
    wal_segments_ahead: int = 0


class Optimizers(_Section):
    """Defaults of `optimizers_config`."""

    deleted_threshold: float = 0.2
    vacuum_min_vector_number: int = 1000
    default_segment_number: int = 0
    max_segment_size_kb: int | None = None
    indexing_threshold_kb: int = 10_000
    flush_interval_sec: int = 5
    max_optimization_threads: int | None = None


class Performance(_Section):
    """Bounds of what requests may take. A read that does not say how long it may take is given up after `search_timeout_sec`.

    Limits of transfers are a node's, of those that begin by themselves; null: none, 0: no transfer begins by itself.
    """

    search_timeout_sec: int | None = Field(default=60, ge=1)
    incoming_shard_transfers_limit: int | None = Field(default=1, ge=0)
    outgoing_shard_transfers_limit: int | None = Field(default=1, ge=0)


class HnswIndex(_Section):
    """Defaults of `hnsw_config`."""

    m: int = 16
    ef_construct: int = 100
    full_scan_threshold_kb: int = 10_000
    max_indexing_threads: int = 0
    on_disk: bool = False


class CollectionSection(_Section):
    """Defaults of a collection's replication."""

    replication_factor: int = 1
    write_consistency_factor: int = 1


class Storage(_Section):
    """Where data lives, and what collections are like that do not say it themselves."""

    storage_path: Path = Path("./storage")
    snapshots_path: Path = Path("./snapshots")
    on_disk_payload: bool = True
    verify_files: bool = True
    wal: Wal = Field(default_factory=Wal)
    performance: Performance = Field(default_factory=Performance)
    optimizers: Optimizers = Field(default_factory=Optimizers)
    hnsw_index: HnswIndex = Field(default_factory=HnswIndex)
    collection: CollectionSection = Field(default_factory=CollectionSection)


class Service(_Section):
    """The REST interface."""

    host: str = "0.0.0.0"
    http_port: int = 6333
    max_request_size_mb: int = 32
    parser_threads: int = 2
    enable_cors: bool = True
    enable_compression: bool = True
    shutdown_grace_sec: int = 10
    api_key: str | None = None
    alt_api_key: str | None = None
    read_only_api_key: str | None = None
    jwt_rbac: bool | None = None
    enable_tls: bool = False
    verify_https_client_certificate: bool = False
    enable_snapshot_url_recovery: bool = True
    metrics_prefix: str | None = Field(default=None, pattern="^[A-Za-z0-9_]*$")


class P2p(_Section):
    """Where other peers reach this node. port None: that of `cluster.uri`; host None: all, or loopback if the URI is."""

    port: int | None = Field(default=None, ge=1, le=65535)
    host: str | None = None
    enable_tls: bool = False


class Consensus(_Section):
    """How peers agree. All times of consensus follow from its tick."""

    tick_period_ms: int = Field(default=100, ge=10)
    bootstrap_timeout_sec: int = Field(default=15, ge=1)
    compact_wal_entries: int = Field(default=128, ge=0)
    read_lease_ticks: int = Field(default=5, ge=0)


class Cluster(_Section):
    """Several nodes together. `uri`: where this one is reached; `bootstrap`: a peer through which it joins."""

    enabled: bool = False
    uri: str | None = None
    bootstrap: str | None = None
    reinit: bool = False
    peer_id: int | None = Field(default=None, ge=1, le=LARGEST_PEER_ID)
    key: str | None = None
    name: str = ""
    zone: str | None = None
    failover_timeout_sec: float = Field(default=1.0, gt=0)
    disk_timeout_sec: float = Field(default=5.0, gt=0)
    replace_dead_replicas_after_sec: float = Field(default=600.0, gt=0)
    transfer_timeout_sec: float = Field(default=30.0, gt=0)
    transfer_bytes_per_sec: int | None = Field(default=None, gt=0)
    spread_primaries: bool = True
    p2p: P2p = Field(default_factory=P2p)
    consensus: Consensus = Field(default_factory=Consensus)


class Tls(_Section):
    """Files of this node's certificate, and of the authority that has signed those of all peers (and of clients, if asked for)."""

    cert: str = "./tls/cert.pem"
    key: str = "./tls/key.pem"
    ca_cert: str = "./tls/cacert.pem"


class RecallProbe(_Section):
    """How the recall of searches is estimated, while the node is not busy. interval_sec 0: never."""

    interval_sec: float = Field(default=300.0, ge=0)
    queries: int = Field(default=8, ge=1, le=1000)
    most_rows: int = Field(default=200_000, ge=1)


class Configuration(_Section):
    """All settings of a node."""

    log_level: str = "INFO"
    service: Service = Field(default_factory=Service)
    storage: Storage = Field(default_factory=Storage)
    cluster: Cluster = Field(default_factory=Cluster)
    tls: Tls = Field(default_factory=Tls)
    recall_probe: RecallProbe = Field(default_factory=RecallProbe)

    def collection_defaults(self) -> CollectionDefaults:
        """Say what collections are like that do not say it themselves."""
        storage = self.storage
        return CollectionDefaults(
            hnsw=_without_kb(storage.hnsw_index),
            optimizers=_without_kb(storage.optimizers),
            wal=storage.wal.model_dump(),
            on_disk_payload=storage.on_disk_payload,
            replication_factor=storage.collection.replication_factor,
            write_consistency_factor=storage.collection.write_consistency_factor,
        )


def load(
    config_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path = _FOLDER,
) -> Configuration:
    """Read and join all layers; raise CannotStart naming the setting or the file that is wrong."""
    environment = os.environ if environment is None else environment
    merged: Layer = {}
    for name in ("config", environment.get("RUN_MODE", _DEFAULT_RUN_MODE), "local"):
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                merged = _joined(merged, _read_file(path))
    if config_path is not None:
        if not config_path.is_file():
            raise CannotStart(f"configuration: there is no file {config_path}")
        merged = _joined(merged, _read_file(config_path))
    merged = _joined(merged, _uris_layer(environment))
    for prefix in _PREFIXES:
        merged = _joined(merged, _environment_layer(environment, prefix))
    merged = _joined(merged, dict(overrides or {}))
    try:
        configuration = Configuration.model_validate(merged)
    except ValidationError as error:
        raise CannotStart(f"configuration: {_first_fault(error)}") from None
    _check_keys(configuration.service)
    cluster = configuration.cluster
    if cluster.uri or cluster.bootstrap:
        return configuration.model_copy(update={"cluster": cluster.model_copy(update={"enabled": True})})
    return configuration


def _read_file(path: Path) -> Layer:
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        shown = " ".join(str(error).split())
        raise CannotStart(f"configuration: {path} cannot be read: {shown}") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise CannotStart(f"configuration: {path} does not hold sections and keys")
    return _without_empty_sections(read)


def _without_empty_sections(layer: Layer) -> Layer:
    """Take a section whose keys are all commented out (null in YAML) as absent."""
    return {key: value for key, value in layer.items() if value is not None}


def _joined(lower: Layer, upper: Layer) -> Layer:
    """Lay one layer over another, key by key."""
    joined = dict(lower)
    for key, value in upper.items():
        below = joined.get(key)
        joined[key] = _joined(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return joined


def _environment_layer(environment: Mapping[str, str], prefix: str) -> Layer:
    """Read PREFIX__SECTION__KEY, whatever its case; an empty value is as good as none."""
    layer: Layer = {}
    for name in sorted(environment):
        if not name.upper().startswith(prefix) or environment[name] == "":
            continue
        *sections, key = name[len(prefix) :].lower().split("__")
        at = layer
        for section in sections:
            deeper = at.setdefault(section, {})
            if not isinstance(deeper, dict):
                deeper = at[section] = {}
            at = deeper
        at[key] = environment[name]
    return layer


def _uris_layer(environment: Mapping[str, str]) -> Layer:
    """Read the two settings of a cluster that have a short name."""
    named = {"uri": environment.get("QDRANT_URI"), "bootstrap": environment.get("QDRANT_BOOTSTRAP")}
    return {"cluster": {key: value for key, value in named.items() if value}}


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    setting = ".".join(str(part) for part in fault["loc"]) or "it"
    kind = fault["type"].partition("_")[0].removesuffix("_type")
    shown = repr(fault["input"])[:100]
    if kind in ("greater", "less"):
        return f"{setting} must be {fault['msg'].removeprefix('Input should be ')}, not {shown}"
    expected = {"int": "an integer", "bool": "true or false", "float": "a number", "model": "a section"}.get(kind)
    return f"{setting} must be {expected or 'a ' + kind}, not {shown}"


def _check_keys(service: Service) -> None:
    """Refuse what would leave a node open that its operator believes to be closed, or closed to everybody."""
    if service.jwt_rbac and not (service.api_key or service.alt_api_key):
        raise CannotStart("configuration: service.jwt_rbac needs service.api_key, with which tokens are signed")
    for name in ("api_key", "alt_api_key", "read_only_api_key"):
        key = getattr(service, name)
        if key and not (key.isascii() and key.isprintable()):
            raise CannotStart(f"configuration: service.{name} has characters that a header cannot have")


def _without_kb(section: _Section) -> dict[str, Any]:
    return {name.removesuffix("_kb"): value for name, value in section.model_dump().items()}
