"""A compiled network is kept and given back whole, or not at all; no trouble with the folder reaches the caller."""

from pathlib import Path

import pytest

from blurd.adapters.model_cache import SUFFIX, ModelCache


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def stored(cache: ModelCache) -> list[Path]:
    assert cache.directory is not None
    return sorted(cache.directory.iterdir())


def test_what_was_saved_comes_back(cache: ModelCache) -> None:
    assert cache.load("face-cpu", "k1") is None
    cache.save("face-cpu", "k1", b"network")
    assert cache.load("face-cpu", "k1") == b"network"
    assert cache.load("face-cpu", "k2") is None
    assert cache.load("plate-cpu", "k1") is None


def test_a_new_key_replaces_the_old_one_of_the_same_name_only(cache: ModelCache) -> None:
    for name, key in (("face-cpu", "k1"), ("plate-cpu", "k1"), ("face-cpu", "k2")):
        cache.save(name, key, key.encode())
    assert [path.name for path in stored(cache)] == [f"face-cpu-k2{SUFFIX}", f"plate-cpu-k1{SUFFIX}"]


@pytest.mark.parametrize("position", [0, 31, 32, -1])
def test_s31_one_changed_bit_is_noticed_and_the_file_thrown_away(cache: ModelCache, position: int) -> None:
    cache.save("face-cpu", "k1", b"network" * 100)
    (path,) = stored(cache)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert cache.load("face-cpu", "k1") is None
    assert stored(cache) == []


@pytest.mark.parametrize("length", [0, 10, 32, 100])
def test_s31_a_file_cut_short_is_noticed(cache: ModelCache, length: int) -> None:
    cache.save("face-cpu", "k1", b"network" * 100)
    (path,) = stored(cache)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load("face-cpu", "k1") is None


def test_without_a_directory_nothing_is_kept() -> None:
    cache = ModelCache(None)
    cache.save("face-cpu", "k1", b"network")
    cache.discard("face-cpu", "k1")
    assert cache.load("face-cpu", "k1") is None


def test_s31_a_directory_that_can_not_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    cache = ModelCache(tmp_path / "cache")
    cache.save("face-cpu", "k1", b"network")
    assert cache.load("face-cpu", "k1") is None


def test_s31_a_full_disk_leaves_nothing_half_written(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.save("face-cpu", "k1", b"network")
    assert stored(cache) == []
