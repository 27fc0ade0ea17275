"""The command line: `qnode` starts a node and runs it until it is told to stop; `qnode check` looks at what it stored."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from qnode import __version__, config
from qnode.config import Configuration
from qnode.errors import CannotJoin, QnodeError

_DESCRIPTION = """\
Run one qnode node: a vector store that speaks Qdrant's REST API.

It stores in ./storage, answers on http://localhost:6333, and stops on Ctrl-C.
`qnode check` reads all that a stopped node has stored, and says whether it is whole.
`qnode dev-cluster` runs several nodes of one cluster on this machine."""
_EPILOG = """\
Settings come from, later ones winning: config/config.yaml, config/$RUN_MODE.yaml, config/local.yaml, --config-path,
QDRANT__SECTION__KEY and QNODE__SECTION__KEY in the environment (QNODE__SERVICE__HTTP_PORT=7000), this command line.
config/config.yaml explains each of them."""
_REFUSED = 101
"""The exit code of a node that its cluster does not take in."""

_LEVELS = {"TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node, check its storage, or run several nodes; give the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["dev-cluster"]:
        return _run_dev_cluster(words[1:])
    options = _parser().parse_args(words)
    try:
        configuration = config.load(options.config_path, _overrides(options))
        _start_logging(configuration)
        # Imported late, so that --help and a wrong setting are answered at once.
        if options.command == "check":
            from qnode import check

            return 1 if check.run(configuration.storage.storage_path) else 0
    except QnodeError as error:
        return _refused(error)
    return _run_node(configuration, options)


def _run_node(configuration: Configuration, options: argparse.Namespace) -> int:
    from qnode import node

    code = 0
    recovery = node.Recovery(tuple(options.snapshot), options.storage_snapshot, options.force_snapshot)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(node.run(configuration, recovery))
    except QnodeError as error:
        code = _refused(error)
    except KeyboardInterrupt:
        code = 130
    if node.is_compiling():
        # All that the node had opened is closed. A thread inside a compiler can be neither stopped nor taken along to an
        # orderly end of the interpreter.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


def _refused(error: QnodeError) -> int:
    print(f"qnode: {error}", file=sys.stderr)
    return _REFUSED if isinstance(error, CannotJoin) else 1


def _run_dev_cluster(words: Sequence[str]) -> int:
    from qnode import dev_cluster

    parser = argparse.ArgumentParser(
        "qnode dev-cluster", description="Run several nodes of one cluster on this machine."
    )
    dev_cluster.add_arguments(parser)
    return dev_cluster.run(parser.parse_args(words))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "qnode", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("run", "check"), default="run", help="what to do (default: run)")
    parser.add_argument("--version", action="version", version=f"qnode {__version__}")
    parser.add_argument("--config-path", type=Path, metavar="FILE", help="a further configuration file (YAML)")
    parser.add_argument("--host", help="the address to answer on (default 0.0.0.0: all)")
    parser.add_argument("--port", type=int, help="the port to answer on (default 6333)")
    parser.add_argument("--uri", help="where other peers reach this node, http://host:6335; makes it one of a cluster")
    parser.add_argument("--bootstrap", metavar="URI", help="a peer through which a new node joins its cluster")
    parser.add_argument(
        "--reinit", action="store_true", help="begin anew as the only member, when most other members are gone for good"
    )
    parser.add_argument("--storage", type=Path, metavar="FOLDER", help="where to store (default ./storage)")
    parser.add_argument(
        "--snapshot", "--collection-snapshot", action="append", default=[], type=_snapshot, metavar="FILE:NAME",
        help="recover a collection from a snapshot before answering; may be given several times",
    )  # fmt: skip
    parser.add_argument("--storage-snapshot", type=Path, metavar="FILE", help="recover all collections of a snapshot")
    parser.add_argument(
        "-f", "--force-snapshot", action="store_true", help="replace collections that are there already"
    )
    return parser


def _snapshot(word: str) -> tuple[Path, str]:
    path, _, name = word.rpartition(":")
    if not path or not name:
        raise argparse.ArgumentTypeError(f"{word!r} is not FILE:NAME")
    return Path(path), name


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "service": {"host": options.host, "http_port": options.port},
        "storage": {"storage_path": options.storage},
        "cluster": {"uri": options.uri, "bootstrap": options.bootstrap, "reinit": options.reinit or None},
    }
    return {
        section: {key: value for key, value in keys.items() if value is not None} for section, keys in given.items()
    }


def _start_logging(configuration: Configuration) -> None:
    """Log to standard error; of a filter list like `TRACE,raft=info` the first plain level counts."""
    words = [word.strip().upper() for word in configuration.log_level.split(",") if "=" not in word]
    level = _LEVELS.get(words[0], logging.getLevelName(words[0])) if words else logging.INFO
    logging.basicConfig(
        level=level if isinstance(level, int) else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # uvicorn tells of its own start and stop; the node does that itself.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
