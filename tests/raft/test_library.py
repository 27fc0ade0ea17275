import pickle
from types import ModuleType

import pytest
from pysyncobj import serializer, syncobj

from qnode.errors import CannotStart
from qnode.raft import library


@pytest.mark.parametrize("module", [syncobj, serializer])
def test_the_library_cannot_reach_pickle(module: ModuleType):
    for name in ("loads", "load", "dumps", "dump", "to_bytes"):
        with pytest.raises(AssertionError, match="never used"):
            getattr(module.pickle, name)(pickle.dumps(1))


@pytest.mark.parametrize("version", ["0.3.16", "0.4.0", "1.0.0"])
def test_an_unknown_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "VERSION", version)
    with pytest.raises(CannotStart, match=f"pysyncobj {version} is not supported"):
        library._guard()


def test_a_version_without_what_is_replaced_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "_OVERRIDDEN", ("_SyncObj__somethingElse",))
    with pytest.raises(CannotStart):
        library._guard()
