"""A node: the one place where the floors meet.

It starts bottom-up and stops top-down: socket bound and certificate read (so that a taken port or a wrong file shows at once,
before other members hear of the start), storage locked, topology, collections, application; the port is opened last, when everything can be answered. The kernels are loaded beside all
this. A node of a cluster is a member before it opens its collections; it answers when its start has been applied, or could
not be for a while: then reads go on, and `/readyz` says why it is not ready. To stop, a member first lets others do what it
does (`cluster.departure`), its requests among them; then the node takes no more connections,
lets requests that are under way finish within a grace period, then closes what it opened, in reverse. It does not wait for
kernels that are still being compiled: the process must then be ended without them (`is_compiling`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from qnode import __version__, memory
from qnode.api import number_scan
from qnode.api.access import Keys
from qnode.api.app import Application, build_application
from qnode.api.direct import protocol_of
from qnode.api.tls import RestCertificate
from qnode.cluster import Cluster, settings_from
from qnode.cluster.identity import is_member
from qnode.config import Configuration, Service
from qnode.disk import hold
from qnode.errors import CannotStart
from qnode.index.vectors import warm_up
from qnode.models.topology import STANDALONE_PEER
from qnode.quotas import Quotas
from qnode.raft import StandaloneLog, TopologyLog
from qnode.shards.collections import Collections, CollectionsSettings
from qnode.shards.copying import CopySettings
from qnode.shards.freshness import UNBOUNDED
from qnode.shards.local_shard import ShardSettings
from qnode.shards.recall import ProbeSettings, RecallProbe
from qnode.shards.replicas import Replicas
from qnode.snapshots import Priority, Snapshots, SnapshotSettings

_TOKEN_KEY_BYTES = 32
_log = logging.getLogger(__name__)

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75

_WARMING = "warming"
"""The name of the thread that loads the kernels."""

_START_SECONDS = 5.0
"""A member whose start nobody could decide on for so long answers all the same."""

_SWITCH_SECONDS = 0.0002
"""How long a thread may run Python while another waits. Beside a writer that is busy, the event loop waits so long at each
turn: with Python's own 5 ms, the median of searches was more than twice as long, and the writer got no more done."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is to be recovered at start: files with the collections that they become, and one of a whole storage."""

    collections: tuple[tuple[Path, str], ...] = ()
    storage: Path | None = None
    replaces: bool = False


NOTHING = Recovery()


async def run(configuration: Configuration, recovery: Recovery = NOTHING) -> None:
    """Run a node until it is told to stop; raise CannotStart, or what is wrong with a snapshot to be recovered."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    memory.use_one_arena()
    service, storage = configuration.service, configuration.storage
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(_bound(service.host, service.http_port))
        certificate = _certificate(configuration)
        opened.enter_context(hold(storage.storage_path))
        folder = _folder(storage.storage_path / "raft")
        cluster = _member(configuration, folder) if configuration.cluster.enabled else None
        topology: TopologyLog = _alone(folder) if cluster is None else cluster.log
        quotas = Quotas(storage.storage_path, lambda: topology.current, topology.propose)
        opened.push_async_callback(_close, topology, cluster)
        settings = CollectionsSettings(
            storage.storage_path / "collections",
            ShardSettings(keep_log_bytes=storage.wal.wal_capacity_mb << 20, verify=storage.verify_files),
            storage.optimizers.max_optimization_threads or 0,
        )
        me, channel, replicas, lease = STANDALONE_PEER, None, None, UNBOUNDED
        if cluster is not None:
            me, channel, lease = cluster.me, cluster.channel, cluster.read_lease
            propose, copying = cluster.replica_states.propose, copy_settings(configuration)
            replicas = Replicas(channel, propose, copying, cluster.has_left)
        collections = Collections(settings, topology, me=me, replicas=replicas, channel=channel, lease=lease)
        opened.push_async_callback(collections.close)
        if replicas is not None:
            opened.push_async_callback(replicas.close)
        if cluster is not None and replicas is not None:
            # Links break before shards are closed: nobody shall wait for a replica that answers no more.
            opened.push_async_callback(cluster.channel.close)
            await cluster.start(replicas)
        threading.Thread(target=_warm_up, name=_WARMING, daemon=True).start()
        await collections.open()
        if cluster is not None:
            releasing = asyncio.create_task(_release(collections, cluster))
            opened.push_async_callback(_cancel, releasing)
            await asyncio.wait([releasing], timeout=_START_SECONDS)
        snapshots = Snapshots(_snapshot_settings(configuration), collections, topology, me=me, channel=channel)
        opened.push_async_callback(snapshots.close)
        await _recover(snapshots, recovery)
        recall = RecallProbe(collections, _probing(configuration))
        opened.push_async_callback(recall.close)
        recall.start()
        if certificate is not None:
            opened.push_async_callback(_cancel, asyncio.create_task(certificate.watch()))
        parsers = opened.enter_context(ThreadPoolExecutor(service.parser_threads, "parser"))
        application = build_application(
            collections,
            parsers,
            configuration.collection_defaults(),
            topology=lambda: topology.current,
            quotas=quotas,
            cluster=cluster,
            replicas=replicas,
            taken=snapshots,
            recall=recall,
            metrics_prefix=service.metrics_prefix or "",
            body_limit_bytes=service.max_request_size_mb << 20,
            read_timeout_seconds=storage.performance.search_timeout_sec,
            allow_any_origin=service.enable_cors,
            compress=service.enable_compression,
            keys=_keys(service),
        )
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        server = _server(
            application, service.shutdown_grace_sec, certificate, None if cluster is None else cluster.leave
        )
        host, port = listener.getsockname()[:2]
        scheme = "http" if certificate is None else "https"
        _log.info("qnode %s serves %s on %s://%s:%d", __version__, storage.storage_path, scheme, host, port)
        try:
            await server.serve(sockets=[listener])
        except OSError as error:
            raise _port_fault(host, port, error) from None
        _log.info("stopping")


def is_compiling() -> bool:
    """Tell whether kernels are being loaded or compiled, which nothing can interrupt."""
    return any(thread.name == _WARMING for thread in threading.enumerate())


def _warm_up() -> None:
    """Load the compiled kernels; on the very first start they are compiled, which takes seconds.

    The port does not wait for it: requests are answered meanwhile, those that need a kernel when it is there. A process that
    ends half-way leaves a cache that is sound: numba puts its files in place by renaming, and compiles what is missing.
    """
    warm_up()
    number_scan.warm_up()
    gc.freeze()
    memory.return_code_of("llvmlite")  # the compiler: 50 MB
    memory.return_free_blocks()


class _Server(uvicorn.Server):
    """uvicorn, stopped by signals that it does not raise again afterwards: the node still has to close its shards.

    leave: what a member does before, while requests are still answered; a second signal does not wait for it.
    """

    def __init__(self, config: uvicorn.Config, leave: Callable[[], Awaitable[None]] | None) -> None:
        super().__init__(config)
        self._leave = leave
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if self._leave is None or self._leaving is not None:
            self.should_exit = True
        else:
            self._leaving = asyncio.create_task(self._leave_first(self._leave))

    async def _leave_first(self, leave: Callable[[], Awaitable[None]]) -> None:
        try:
            await leave()
        except Exception:
            _log.exception("the node could not leave its work to others")
        self.should_exit = True


def _server(
    application: Application,
    grace_seconds: int,
    certificate: RestCertificate | None,
    leave: Callable[[], Awaitable[None]] | None,
) -> _Server:
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=protocol_of(application),
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )
    config.load()
    config.ssl = None if certificate is None else certificate.context
    return _Server(config, leave)


def _certificate(configuration: Configuration) -> RestCertificate | None:
    """Read the certificate of the REST interface, if it is to have one."""
    service, tls = configuration.service, configuration.tls
    if not service.enable_tls:
        if service.verify_https_client_certificate:
            _log.warning(
                "no client shows a certificate: service.verify_https_client_certificate needs service.enable_tls"
            )
        return None
    authority = Path(tls.ca_cert) if service.verify_https_client_certificate else None
    return RestCertificate(Path(tls.cert), Path(tls.key), authority)


def _keys(service: Service) -> Keys | None:
    """Give what clients must show; None: nothing."""
    full = tuple(key for key in (service.api_key, service.alt_api_key) if key)
    if not full and not service.read_only_api_key:
        return None
    if service.jwt_rbac and min(map(len, full)) < _TOKEN_KEY_BYTES:
        _log.warning(
            "tokens (service.jwt_rbac) are only as safe as the API key: choose one of %d characters", _TOKEN_KEY_BYTES
        )
    return Keys(full, service.read_only_api_key, bool(service.jwt_rbac))


def copy_settings(configuration: Configuration) -> CopySettings:
    """Say how much of this node's work the copying of shards may be."""
    limit = configuration.storage.performance.outgoing_shard_transfers_limit
    return CopySettings(
        most_outgoing=sys.maxsize if limit is None else max(limit, 1),  # 0 is about those that nobody has asked for
        bytes_per_second=configuration.cluster.transfer_bytes_per_sec,
    )


def _probing(configuration: Configuration) -> ProbeSettings:
    wanted = configuration.recall_probe
    return ProbeSettings(wanted.interval_sec, wanted.queries, wanted.most_rows)


def _snapshot_settings(configuration: Configuration) -> SnapshotSettings:
    storage = configuration.storage
    allows_remote = configuration.service.enable_snapshot_url_recovery
    return SnapshotSettings(storage.snapshots_path, storage.storage_path / "staging", allows_remote)


async def _recover(snapshots: Snapshots, recovery: Recovery) -> None:
    """Restore what the operator has named; the port is not open yet."""
    for file in (*(file for file, _ in recovery.collections), *filter(None, [recovery.storage])):
        if not file.is_file():
            raise CannotStart(f"there is no snapshot {file} (--snapshot, --storage-snapshot)")
    if recovery.storage is not None:
        await snapshots.restore_storage(recovery.storage, replaces=recovery.replaces)
    for file, name in recovery.collections:
        snapshots.check_may_replace(name, replaces=recovery.replaces)
        await snapshots.restore(name, file, Priority.SNAPSHOT)


async def _release(collections: Collections, cluster: Cluster) -> None:
    """Let shards act by the topology as soon as it shows that this process has started."""
    await cluster.started.wait()
    try:
        await collections.release_views()
    except Exception:
        _log.exception(
            "what the topology says could not be carried out in full; it is tried again with its next change"
        )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _alone(folder: Path) -> StandaloneLog:
    """Open the topology of a node that runs alone; raise CannotStart if it does not any more."""
    if is_member(folder):
        raise CannotStart(
            f"the storage {folder.parent} is a cluster member's: start it with its address (cluster.uri, --uri), "
            f"or choose another storage folder"
        )
    return StandaloneLog(folder)


def _member(configuration: Configuration, folder: Path) -> Cluster:
    """Open what a member of a cluster knows; one that ran alone before brings its collections along."""
    held = None
    if (folder / "data.mdb").exists():
        alone = StandaloneLog(folder)
        held = alone.current
        alone.close()
    return Cluster(settings_from(configuration), folder, standalone=held)


async def _close(topology: TopologyLog, cluster: Cluster | None) -> None:
    if cluster is not None:
        await cluster.close()
    else:
        topology.close()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the port without listening: until then, clients are refused, which means "not yet" to them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise _port_fault(host, port, error) from None
        yield listener


def _port_fault(host: str, port: int, error: Exception) -> CannotStart:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return CannotStart(f"port {port} on {host} is taken by another process (service.http_port, --port)")
    return CannotStart(f"{host}:{port} cannot be served: {error} (service.host, service.http_port)")
