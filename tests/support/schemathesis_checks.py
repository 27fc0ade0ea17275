"""What every answer to schemathesis is held against beside "no failure of the node": the contract, or the bare envelope.

Loaded by schemathesis itself, by the name in its SCHEMATHESIS_HOOKS; nothing else imports it.
"""

from __future__ import annotations

from typing import Any

import orjson
import schemathesis

from tests.support import contract

KEYS_OF_SUCCESS = {"result", "status", "time"}
KEYS_OF_FAILURE = {"status", "time"}
PLAIN_PATHS = ("/", "/healthz", "/livez", "/readyz", "/metrics", "/openapi.json")


@schemathesis.check  # type: ignore[misc, unused-ignore]
def answers_keep_to_the_contract(ctx: Any, response: Any, case: Any) -> None:
    """Fail on an answer that Qdrant's interface does not promise."""
    request = response.request
    path = request.path_url.partition("?")[0]
    content_type = response.headers.get("content-type", [""])[0]
    if request.method == "HEAD" or (path in PLAIN_PATHS and response.status_code == 200):
        return
    if contract.operation_of(request.method, path) is not None:
        contract.check(request.method, path, response.status_code, content_type, response.content)
        return
    assert content_type == "application/json", f"{content_type}: {response.content[:200]!r}"
    keys = orjson.loads(response.content).keys()
    expected = KEYS_OF_SUCCESS if response.status_code < 400 else KEYS_OF_FAILURE
    assert keys == expected, f"{response.status_code}: {response.content[:200]!r}"
