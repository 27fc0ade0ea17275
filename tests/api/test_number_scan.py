import json
import os
import random
import re
import struct

import numpy as np
import orjson
import pytest

from qnode.api import number_scan

SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(1 << 30)))


def upsert(vectors: list[str], payload: object = None) -> bytes:
    points = [
        f'{{"id": {at}, "vector": {vector}, "payload": {json.dumps(payload)}}}' for at, vector in enumerate(vectors)
    ]
    return ('{"points": [' + ", ".join(points) + "]}").encode()


def plain(value):
    """What orjson gives, narrowed as the scan narrows."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def narrowed(vector: list[float]) -> list[float]:
    return np.array(vector, np.float64).astype(np.float32).tolist()


def spelled(chance: random.Random) -> str:
    """A number as somebody may write it."""
    value = struct.unpack("<f", struct.pack("<I", chance.getrandbits(32)))[0]
    if value != value or abs(value) > 3e38 or abs(value) < 1e-37:
        value = chance.uniform(-2, 2)
    style = chance.randrange(7)
    if style == 0:
        return str(chance.randrange(-300, 300))
    if style == 1:
        return repr(float(np.float32(value)))
    if style == 2:
        return f"{value:.{chance.randrange(25)}e}"
    if style == 3:
        return f"{chance.uniform(-1, 1):.{chance.randrange(1, 30)}f}"
    if style == 4:
        return f"{chance.getrandbits(80)}.{chance.getrandbits(60)}"
    if style == 5:
        # the middle between two float32, and just beside it
        low = np.float32(abs(value))
        middle = (float(low) + float(np.nextafter(low, np.float32(np.inf)))) / 2
        return repr(float(chance.choice([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)])))
    return orjson.dumps(np.float32(value), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def test_numbers_are_read_as_orjson_reads_them():
    print("seed", SEED)
    chance = random.Random(SEED)
    for _ in range(300):
        numbers = [spelled(chance) for _ in range(chance.randrange(16, 40))]
        body = upsert(["[" + chance.choice([",", ", ", " ,\n\t"]).join(numbers) + "]"])
        wide = orjson.loads(body)["points"][0]["vector"]
        with np.errstate(over="ignore"):
            found = number_scan.parse(body)["points"][0]["vector"]
            assert narrowed(list(found)) == narrowed(wide), numbers


def test_vectors_become_arrays_wherever_a_write_may_hold_them():
    vector = "[" + ",".join(["0.5"] * 20) + "]"
    for body in (
        f'{{"points": [{{"id": 1, "vectors": {{"a": {vector}, "b": [1, 2]}}}}]}}',
        f'{{"batch": {{"ids": [1, 2], "vectors": [{vector}, {vector}]}}}}',
        f'{{"batch": {{"ids": [1], "vectors": {{"a": [{vector}]}}}}}}',
        f'{{"operations": [{{"upsert": {{"points": [{{"id": 1, "vector": {vector}}}]}}}}, {{"delete": {{"points": [1]}}}}]}}',
    ):
        content = number_scan.parse(body.encode())
        assert plain(content) == orjson.loads(body)
        assert "array(" in repr(content)


def test_numbers_in_a_payload_stay_as_they_are():
    payload = {"long": list(range(100)), "text": 'a "quoted" [1,2,3] \\', "nested": {"vector": [0.1] * 50}}
    body = upsert(["[" + ",".join(["0.1"] * 20) + "]"], payload)
    assert number_scan.parse(body)["points"][0]["payload"] == payload


def test_short_vectors_are_left_to_orjson():
    assert number_scan.parse(upsert(["[1, 2.5]"]))["points"][0]["vector"] == [1, 2.5]


@pytest.mark.parametrize(
    "number", ["NaN", "01", "1.", ".5", "1e", "--1", "+1", "0x1", "1_0", "1,", "Infinity", "null", "1 2", '"1"', "true"]
)
def test_what_is_no_number_is_as_faulty_as_orjson_finds_it(number):
    body = upsert(["[" + ",".join(["0.1"] * 20 + [number]) + "]"])
    try:
        expected = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        with pytest.raises(orjson.JSONDecodeError, match=re.escape(str(fault))):
            number_scan.parse(body)
    else:
        assert plain(number_scan.parse(body)) == expected


def test_a_body_that_is_cut_anywhere_is_as_faulty_as_orjson_finds_it():
    body = upsert(["[" + ",".join(["-0.25e-3"] * 20) + "]"], {"text": 'with \\" quote'})
    for end in range(len(body)):
        with pytest.raises(orjson.JSONDecodeError):
            number_scan.parse(body[:end])


def test_random_bytes_do_no_harm():
    print("seed", SEED)
    chance = random.Random(SEED)
    body = bytearray(upsert(["[" + ",".join(["0.125"] * 30) + "]"] * 3, {"a": "b"}))
    for _ in range(3000):
        damaged = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.choice(b'"[]{},:\\0.e-+x \x00\xff')
        try:
            expected = orjson.loads(damaged)
        except orjson.JSONDecodeError:
            with pytest.raises(orjson.JSONDecodeError):
                number_scan.parse(bytes(damaged))
        else:
            found = plain(number_scan.parse(bytes(damaged)))
            assert found == expected or found == plain_narrowed(expected)


def plain_narrowed(value):
    """`value` with every long list of numbers that stands as a vector narrowed to float32."""
    if isinstance(value, dict):
        return {
            name: narrowed(item) if name in ("vector", "vectors") and numbers(item) else plain_narrowed(item)
            for name, item in value.items()
        }
    return [plain_narrowed(item) for item in value] if isinstance(value, list) else value


def numbers(value) -> bool:
    return isinstance(value, list) and len(value) >= 16 and all(type(item) in (int, float) for item in value)
