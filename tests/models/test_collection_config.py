from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models as client

from qnode.errors import BadInput, BadRequest, MalformedBody, QnodeError, ValidationFailed
from qnode.models.collection import CollectionConfig, CollectionDefaults, CollectionDiff
from qnode.models.collection_sections import collection_name_faults
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind

DOT = {"size": 4, "distance": "Dot"}
read = CollectionConfig.from_request


def patched(created: dict[str, Any], change: dict[str, Any]) -> CollectionConfig:
    return read(created).patched(CollectionDiff.from_request(change))


def test_defaults_are_those_that_qdrant_shows() -> None:
    assert read({"vectors": DOT}).shown() == {
        "params": {
            "vectors": DOT,
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        },
        "hnsw_config": {
            "m": 16,
            "ef_construct": 100,
            "full_scan_threshold": 10000,
            "max_indexing_threads": 0,
            "on_disk": False,
        },
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "max_segment_size": None,
            "memmap_threshold": None,
            "indexing_threshold": 10000,
            "flush_interval_sec": 5,
            "max_optimization_threads": None,
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
        "quantization_config": None,
    }


def test_vectors_are_echoed_in_the_form_in_which_they_were_sent() -> None:
    named = {"a": {**DOT, "on_disk": True, "hnsw_config": {"m": 8}, "quantization_config": None}, "b": DOT}
    echoed = {"a": {**DOT, "hnsw_config": {"m": 8}, "on_disk": True}, "b": DOT}
    assert read({"vectors": named}).shown()["params"]["vectors"] == echoed
    assert read({"vectors": {"": DOT}}).shown()["params"]["vectors"] == {"": DOT}
    assert read({"vectors": {**DOT, "hnsw_config": {}}}).shown()["params"]["vectors"] == DOT
    assert read({}).shown()["params"]["vectors"] == {}


def test_shown_settings_are_what_the_client_library_reads() -> None:
    body = {
        "vectors": {"a": {**DOT, "datatype": "uint8", "quantization_config": {"binary": {"always_ram": True}}}},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}},
        "hnsw_config": {"payload_m": 8},
        "metadata": {"owner": "me"},
        "strict_mode_config": {"enabled": False},
    }
    TypeAdapter(client.CollectionConfig).validate_json(orjson.dumps(read(body).shown()), strict=True)


def test_settings_survive_storage_as_json() -> None:
    config = read({"vectors": {"a": DOT, "b": DOT}, "metadata": {"x": [1]}, "on_disk_payload": False})
    assert CollectionConfig.from_json(orjson.loads(orjson.dumps(config.to_json()))) == config


def test_vector_settings_overlay_those_of_the_collection() -> None:
    body = {
        "vectors": {
            "own": {
                "size": 3,
                "distance": "Euclid",
                "datatype": "float16",
                "hnsw_config": {"m": 0},
                "quantization_config": {"binary": {}},
                "on_disk": True,
            },
            "plain": DOT,
        },
        "hnsw_config": {"m": 32, "ef_construct": 200},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.9}},
        "optimizers_config": {"indexing_threshold": 0, "max_segment_size_kb": 7},
    }
    params = read(body).index_params()
    own, plain = params.vectors
    assert (own.name, own.slot, own.distance, own.datatype) == ("own", 0, Distance.EUCLID, Datatype.FLOAT16)
    assert (own.m, own.ef_construct, own.on_disk) == (0, 200, True)
    assert own.quantization is not None
    assert own.quantization.kind is QuantizationKind.BINARY
    assert (plain.slot, plain.m, plain.on_disk) == (1, 32, False)
    assert plain.quantization is not None
    assert plain.quantization.quantile == 0.9
    assert (params.indexing_threshold_kb, params.max_segment_size_kb) == (0, 7)


def test_the_node_gives_defaults_that_a_request_overrides() -> None:
    defaults = CollectionDefaults(hnsw={"m": 8, "ef_construct": 50}, on_disk_payload=False, replication_factor=2)
    shown = read({"hnsw_config": {"m": 4}}, defaults).shown()
    assert (shown["hnsw_config"]["m"], shown["hnsw_config"]["ef_construct"]) == (4, 50)
    assert (shown["params"]["on_disk_payload"], shown["params"]["replication_factor"]) == (False, 2)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ([], MalformedBody, "invalid type: sequence, expected struct CreateCollection"),
        ({"vectors": {**DOT, "size": 0}}, MalformedBody, "invalid value: integer `0`, expected a nonzero u64"),
        ({"vectors": {**DOT, "size": True}}, MalformedBody, "invalid type: boolean `true`"),
        ({"vectors": {**DOT, "size": 4.0}}, MalformedBody, "invalid type: floating point `4.0`"),
        ({"vectors": {**DOT, "distance": "dot"}}, MalformedBody, "unknown variant `dot`, expected one of `Cosine`"),
        ({"vectors": {"size": 4}}, MalformedBody, "missing field `distance`"),
        ({"vectors": {"a": 7}}, MalformedBody, "invalid type: integer `7`, expected struct VectorParams"),
        ({"shard_number": -1}, MalformedBody, "invalid value: integer `-1`, expected u32"),
        ({"quantization_config": {"scalar": {}}}, MalformedBody, "missing field `type`"),
        ({"quantization_config": {"other": {}}}, MalformedBody, "untagged enum QuantizationConfig"),
        (
            {"vectors": {**DOT, "size": 65537}},
            ValidationFailed,
            "Validation error in JSON body: [vectors.size: value 65537 invalid, must be from 1 to 65536]",
        ),
        ({"vectors": {"a": {**DOT, "size": 65537}}}, ValidationFailed, "[vectors.?.size: value 65537"),
        ({"replication_factor": 0}, ValidationFailed, "[replication_factor: value 0 invalid, must be 1 or larger]"),
        (
            {"optimizers_config": {"deleted_threshold": 1.5}},
            ValidationFailed,
            "[optimizers_config.deleted_threshold: value 1.5 invalid, must be from 0.0 to 1.0]",
        ),
        ({"hnsw_config": {"ef_construct": 3}}, ValidationFailed, "value 3 invalid, must be 4 or larger"),
        (
            {"quantization_config": {"scalar": {"type": "int8", "quantile": 0.4}}},
            ValidationFailed,
            "[quantization_config.scalar.quantile: value 0.4 invalid, must be from 0.5 to 1.0]",
        ),
        ({"vectors": {**DOT, "memory": "pinned"}}, ValidationFailed, "[vectors.memory: "),
        ({"sparse_vectors": {"": {}}}, BadRequest, "Bad request: Sparse vector name cannot be empty"),
        (
            {"vectors": {"image": DOT}, "sparse_vectors": {"image": {}}},
            BadRequest,
            "Dense and sparse vector names must be unique - duplicate found with 'image'",
        ),
        (
            {"sparse_vectors": {"s": {"index": {"datatype": "turbo4"}}}},
            ValidationFailed,
            "sparse vectors do not support the `turbo4` datatype",
        ),
        ({"vectors": {**DOT, "multivector_config": {"comparator": "sum"}}}, MalformedBody, "unknown variant `sum`"),
        ({"vectors": {**DOT, "multivector_config": {}}}, MalformedBody, "missing field `comparator`"),
        ({"strict_mode_config": {"enabled": 1}}, MalformedBody, "invalid type: integer `1`, expected a boolean"),
        (
            {"strict_mode_config": {"max_query_limit": 0}},
            ValidationFailed,
            "strict_mode_config.max_query_limit: value 0 invalid, must be 1 or larger",
        ),
    ],
)
def test_a_wrong_creation_is_refused_in_qdrants_words(body: Any, kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        read(body)
    assert text in str(raised.value)


def test_a_patch_merges_field_by_field() -> None:
    config = patched(
        {"vectors": DOT, "hnsw_config": {"m": 8}, "metadata": {"a": 1, "b": 2}},
        {
            "hnsw_config": {"ef_construct": 50},
            "optimizer_config": {"indexing_threshold": 1},
            "params": {"replication_factor": 3, "read_fan_out_factor": 0},
            "vectors": {"": {"hnsw_config": {"m": 4}, "on_disk": True}},
            "metadata": {"a": None, "c": 3},
        },
    ).shown()
    assert (config["hnsw_config"]["m"], config["hnsw_config"]["ef_construct"]) == (8, 50)
    assert config["optimizer_config"]["indexing_threshold"] == 1
    assert config["params"]["replication_factor"] == 3
    assert config["params"]["read_fan_out_factor"] == 0
    assert config["params"]["vectors"] == {**DOT, "hnsw_config": {"m": 4}, "on_disk": True}
    assert config["metadata"] == {"b": 2, "c": 3}


def test_a_patch_replaces_quantization_and_disables_it() -> None:
    scalar, binary = {"scalar": {"type": "int8"}}, {"binary": {"always_ram": True}}
    assert patched({"quantization_config": scalar}, {"quantization_config": binary}).quantization == binary
    assert patched({"quantization_config": scalar}, {"quantization_config": "Disabled"}).quantization is None
    named = {"vectors": {"a": {**DOT, "quantization_config": scalar}}}
    vectors = patched(named, {"vectors": {"a": {"quantization_config": "Disabled"}}}).vectors
    assert vectors == {"a": DOT}


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"vectors": {"x": {"on_disk": True}}}, BadInput, "Wrong input: Not existing vector name error: x"),
        ({"params": {"replication_factor": 0}}, MalformedBody, "integer `0`, expected a nonzero u32"),
        ({"vectors": {"": {"memory": "pinned"}}}, ValidationFailed, "[vectors.?.memory: "),
    ],
)
def test_a_wrong_patch_is_refused(change: dict[str, Any], kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        patched({"vectors": DOT}, change)
    assert text in str(raised.value)


def test_inline_storage_without_quantization_gives_a_warning() -> None:
    inline = {"vectors": {"a": {**DOT, "hnsw_config": {"inline_storage": True}}, "b": DOT}}
    assert len(read(inline).warnings()) == 1
    assert read({**inline, "quantization_config": {"binary": {}}}).warnings() == []


@pytest.mark.parametrize("encoding", [None, "one_bit", "two_bits", "one_and_half_bits"])
def test_encodings_finer_than_one_bit_are_made_with_two(encoding: str | None) -> None:
    config = read({"vectors": DOT, "quantization_config": {"binary": {"encoding": encoding}}})
    (vector,) = config.index_params().vectors
    assert vector.quantization is not None
    assert vector.quantization.two_bits == (encoding in ("two_bits", "one_and_half_bits"))


@pytest.mark.parametrize(
    ("compression", "codes"),
    [
        ("x4", Quantization(QuantizationKind.SCALAR)),
        ("x16", Quantization(QuantizationKind.SCALAR)),
        ("x32", Quantization(QuantizationKind.BINARY, two_bits=True)),
        ("x64", Quantization(QuantizationKind.BINARY)),
    ],
)
def test_the_compression_of_product_quantization_chooses_the_bits_of_a_component(
    compression: str, codes: Quantization
) -> None:
    config = read({"vectors": DOT, "quantization_config": {"product": {"compression": compression}}})
    (vector,) = config.index_params().vectors
    assert vector.quantization == codes


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a" * 256, "a/b", "a\\b", "a:b", "a?b", "a*b", 'a"b', "a<b", "a\0b", "a\x1fb"]
)
def test_a_forbidden_collection_name_is_a_fault(name: str) -> None:
    assert collection_name_faults(name)


def test_ordinary_collection_names_are_no_fault() -> None:
    for name in ("a", "a" * 255, "günther ☃", "...", "with space"):
        assert collection_name_faults(name) == []
