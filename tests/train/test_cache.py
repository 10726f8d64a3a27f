"""Features are computed once, never confused, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kinema.train.cache import FeatureCache, fingerprint, weights_hash


class Counter:
    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, keys: list[int]):  # type: ignore[no-untyped-def]
        def compute(positions: list[int]) -> Tensor:
            self.calls.append([keys[position] for position in positions])
            return torch.tensor([[float(keys[position])] * 3 for position in positions])

        return compute


def test_only_missing_keys_are_computed_in_order() -> None:
    cache, counter = FeatureCache("net"), Counter()
    first = cache.lookup([3, 1, 3], counter([3, 1, 3]))
    assert first[:, 0].tolist() == [3, 1, 3]
    second = cache.lookup([1, 2], counter([1, 2]))
    assert second[:, 0].tolist() == [1, 2]
    assert counter.calls == [[3, 1], [2]]
    assert (cache.hits, cache.misses) == (2, 3)


def test_structures_come_back_as_structures() -> None:
    cache = FeatureCache("text")
    made = {"embeds": torch.randn(2, 4, 3), "mask": torch.tensor([[True] * 4, [False] * 4])}
    got = cache.lookup(["a", "b"], lambda positions: {name: value[positions] for name, value in made.items()})
    assert torch.equal(got["embeds"], made["embeds"])
    assert got["mask"].dtype == torch.bool


def test_disk_survives_the_process_and_heals(tmp_path: Path) -> None:
    counter = Counter()
    FeatureCache("net", folder=tmp_path).lookup([1, 2], counter([1, 2]))
    again = FeatureCache("net", folder=tmp_path).lookup([1, 2], counter([1, 2]))
    assert again[:, 0].tolist() == [1, 2]
    assert counter.calls == [[1, 2]]
    for path in tmp_path.glob("net/*/*.safetensors"):
        path.write_bytes(b"broken")
    healed = FeatureCache("net", folder=tmp_path).lookup([1, 2], counter([1, 2]))
    assert healed[:, 0].tolist() == [1, 2]
    assert counter.calls == [[1, 2], [1, 2]]
    assert not list(tmp_path.rglob("*.tmp"))


def test_another_network_shares_nothing(tmp_path: Path) -> None:
    counter = Counter()
    FeatureCache("one", folder=tmp_path).lookup([1], counter([1]))
    FeatureCache("two", folder=tmp_path).lookup([1], counter([1]))
    assert len(counter.calls) == 2


def test_memory_and_disk_are_bounded_oldest_first(tmp_path: Path) -> None:
    counter = Counter()
    cache = FeatureCache("net", folder=tmp_path, memory_bytes=3 * 12, disk_bytes=500)
    for key in range(20):
        cache.lookup([key], counter([key]))
    assert cache._used <= 36
    files = list(tmp_path.glob("net/*/*.safetensors"))
    assert 0 < sum(path.stat().st_size for path in files) <= 500
    cache.lookup([19], counter([19]))
    assert len(counter.calls) == 20
    cache.lookup([0], counter([0]))
    assert len(counter.calls) == 21


def test_the_returned_batch_does_not_alias_the_cache() -> None:
    cache, counter = FeatureCache("net"), Counter()
    cache.lookup([1], counter([1])).zero_()
    assert cache.lookup([1], counter([1])).sum() == 3


def test_fingerprint_follows_weights_and_settings() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(torch.bfloat16)
    before = weights_hash(net)
    assert before == weights_hash(net)
    assert fingerprint(net, height=64) != fingerprint(net, height=32)
    with torch.no_grad():
        net[0].bias[1] += 1
    assert weights_hash(net) != before


def test_wrong_number_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="1 rows of features for 2 keys"):
        FeatureCache("net").lookup([1, 2], lambda positions: torch.zeros(1))
