from pathlib import Path

import pytest
import yaml

from qnode import config
from qnode.config import Configuration, load
from qnode.errors import CannotStart

SHIPPED = Path(__file__).parents[1] / "config" / "config.yaml"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nothing_configured_gives_the_built_in_defaults(tmp_path: Path) -> None:
    assert load(environment={}, folder=tmp_path) == Configuration()


def test_the_shipped_file_shows_exactly_the_built_in_defaults() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text())
    built_in = Configuration().model_dump(mode="json")
    built_in["storage"]["storage_path"] = "./storage"
    built_in["storage"]["snapshots_path"] = "./snapshots"
    assert shipped == built_in


def test_later_layers_win_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", "service: {host: a, http_port: 1, max_request_size_mb: 1}\nlog_level: DEBUG")
    write(tmp_path, "staging.yaml", "service: {http_port: 2}")
    write(tmp_path, "local.yml", "service: {max_request_size_mb: 3}")
    extra = write(tmp_path, "extra.yaml", "service: {parser_threads: 4}")
    environment = {
        "RUN_MODE": "staging",
        "QDRANT__SERVICE__ENABLE_CORS": "false",
        "QNODE__STORAGE__HNSW_INDEX__M": "24",
    }
    read = load(extra, {"storage": {"storage_path": Path("x")}}, environment, tmp_path)
    service = read.service
    assert (service.host, service.http_port, service.max_request_size_mb, service.parser_threads) == ("a", 2, 3, 4)
    assert (read.log_level, service.enable_cors, read.storage.hnsw_index.m) == ("DEBUG", False, 24)
    assert read.storage.storage_path == Path("x")


def test_qnode_variables_win_over_qdrant_variables_in_any_case(tmp_path: Path) -> None:
    environment = {"QNODE__service__HTTP_PORT": "2", "qdrant__SERVICE__HTTP_PORT": "1"}
    assert load(environment=environment, folder=tmp_path).service.http_port == 2


def test_unknown_keys_and_empty_values_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", "gpu: {indexing: true}\nservice:\nstorage: {performance: {max_search_threads: 4}}")
    environment = {"QDRANT__FEATURE_FLAGS__ALL": "true", "QDRANT__SERVICE__API_KEY": ""}
    assert load(environment=environment, folder=tmp_path) == Configuration()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("service: {http_port: many}", "service.http_port must be an integer, not 'many'"),
        ("service: {enable_cors: 7}", "service.enable_cors must be true or false, not 7"),
        ("storage: [1]", "storage must be a section, not [1]"),
        ("storage: {optimizers: {deleted_threshold: x}}", "deleted_threshold must be a number, not 'x'"),
        ("cluster: {peer_id: 0}", "cluster.peer_id must be greater than or equal to 1, not 0"),
        ("- 1", "does not hold sections and keys"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_type_stops_the_start_naming_the_setting(tmp_path: Path, text: str, fault: str) -> None:
    write(tmp_path, "config.yaml", text)
    with pytest.raises(CannotStart) as raised:
        load(environment={}, folder=tmp_path)
    assert fault in str(raised.value)


def test_a_missing_file_named_on_the_command_line_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="there is no file"):
        load(tmp_path / "none.yaml", environment={}, folder=tmp_path)


def test_tokens_that_no_key_signs_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"needs service\.api_key"):
        load(environment={"QDRANT__SERVICE__JWT_RBAC": "true"}, folder=tmp_path)
    environment = {"QDRANT__SERVICE__JWT_RBAC": "true", "QDRANT__SERVICE__API_KEY": "secret"}
    assert load(environment=environment, folder=tmp_path).service.jwt_rbac


@pytest.mark.parametrize("key", ["schlüssel", "one\nline"])
def test_a_key_that_no_client_can_show_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(CannotStart, match=r"service\.alt_api_key has characters that a header cannot have"):
        load(None, {"service": {"alt_api_key": key}}, {}, tmp_path)


def test_the_uri_of_a_peer_makes_the_node_one_of_a_cluster(tmp_path: Path) -> None:
    assert not load(environment={"QDRANT_URI": ""}, folder=tmp_path).cluster.enabled
    cluster = load(environment={"QDRANT_URI": "http://a:1", "QDRANT_BOOTSTRAP": "http://b:2"}, folder=tmp_path).cluster
    assert (cluster.enabled, cluster.uri, cluster.bootstrap) == (True, "http://a:1", "http://b:2")
    named = load(None, {"cluster": {"bootstrap": "http://c:3"}}, {"QDRANT_BOOTSTRAP": "http://b:2"}, tmp_path).cluster
    assert (named.enabled, named.uri, named.bootstrap) == (True, None, "http://c:3")


def test_collection_defaults_take_the_names_that_collections_use(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", "storage: {optimizers: {indexing_threshold_kb: 5}, hnsw_index: {m: 3}}")
    defaults = config.load(environment={}, folder=tmp_path).collection_defaults()
    assert defaults.optimizers["indexing_threshold"] == 5
    assert (defaults.hnsw["m"], defaults.hnsw["full_scan_threshold"]) == (3, 10_000)
