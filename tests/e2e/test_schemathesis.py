"""Requests that schemathesis makes from an OpenAPI document: no failure of the node, no hang.

Not part of the normal run, and skipped where schemathesis is not installed: `pip install schemathesis`, then
`pytest -m soak tests/e2e/test_schemathesis.py`. `QNODE_OPENAPI` names a document beside the node's own, such as Qdrant's;
`QNODE_SCHEMATHESIS_EXAMPLES`: how many requests for each operation; `QNODE_TEST_SEED` repeats a run. Every answer is
also held against the contract (`tests/support/schemathesis_checks.py`).
"""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import ROOT, Node

EXAMPLES = os.environ.get("QNODE_SCHEMATHESIS_EXAMPLES", "50")
SEED = os.environ.get("QNODE_TEST_SEED", str(random.randrange(2**32)))
RUN_SECONDS = 3600
REQUEST_SECONDS = "30"
CHECKS = "not_a_server_error,answers_keep_to_the_contract"
DOCUMENTS = ["", *filter(None, [os.environ.get("QNODE_OPENAPI")])]

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_request_that_a_document_allows_makes_the_node_fail(tmp_path: Path, document: str) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    # Nothing is fetched from the places that requests make up.
    with Node(tmp_path, environment={"QNODE__SERVICE__ENABLE_SNAPSHOT_URL_RECOVERY": "false"}) as node:
        node.create("0", 2)  # a name that examples find often
        node.wait_until_ready()
        run = subprocess.run(
            [
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
                "run", document or f"{node.address}/openapi.json", "--url", node.address,
                "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure",
                "--generation-database", "none", "--request-timeout", REQUEST_SECONDS, "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=RUN_SECONDS,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_checks"},
        )  # fmt: skip
        print(run.stdout[-20_000:], run.stderr[-2000:])
        assert "API Operations" in run.stdout, "schemathesis has not run"
        assert run.returncode == 0
        assert node.process.poll() is None
