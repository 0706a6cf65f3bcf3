"""Programs for many sizes of picture in one process."""

import gc

import jax
import numpy as np
import pytest

from srgan_jax.inference import programs


@pytest.fixture
def most(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 3)
    gc.collect()
    for kept in programs._kept.values():  # of other tests
        kept.clear()
    return 3


def test_programs_are_dropped_where_there_are_many(most):
    traced = []

    @programs.bounded
    @jax.jit
    def double(x, tree):
        traced.append(x.shape)
        return 2 * x + tree["b"]

    @programs.bounded
    @jax.jit
    def triple(x):
        return 3 * x

    def sizes():
        return [each.__wrapped__._cache_size() for each in (double, triple)]

    zero = {"b": np.float32(0)}
    for side in (1, 2, 1, 2):
        assert (double(np.ones(side), zero) == 2 * np.ones(side)).all()
    assert traced == [(1,), (2,)] and sizes() == [2, 0]
    triple(np.ones(1))
    triple(np.ones(1))
    assert sizes() == [2, 1]  # together as many as there may be
    assert (triple(np.ones(2)) == 3).all() and sizes() == [0, 1]
    double(np.ones(1), zero)
    assert traced == [(1,), (2,), (1,)] and sizes() == [1, 1]
    for side in range(1, 20):
        triple(np.ones(side))
        assert sum(sizes()) <= most


def test_what_is_gone_does_not_count(most):
    def function():
        return programs.bounded(jax.jit(lambda x: x + 1))

    for _ in range(10):
        function()(np.ones(3))
    gc.collect()
    assert sum(map(len, programs._kept.values())) == 0
