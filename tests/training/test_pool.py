"""Earlier outputs for the discriminator."""

import jax
import jax.numpy as jnp
import numpy as np

from srgan_jax.training.pool import empty, through


def test_a_pool_fills_and_then_half_of_the_images_change_with_a_kept_one():
    pool, seen, passed = empty(4, 1, 3), [], []
    for step in range(40):
        images = jnp.full((2, 1, 1, 3), 1.0) * jnp.array([2 * step, 2 * step + 1.0])[:, None, None, None]
        shown, pool = jax.jit(through, static_argnums=4)(pool, images, jnp.arange(2), jax.random.key(step), None)
        passed += [float(x) for x in images[:, 0, 0, 0]]
        seen += [float(x) for x in shown[:, 0, 0, 0]]
        if step == 1:
            assert int(pool.filled) == 4 and seen == passed  # until it is full each is shown, and kept
    older = [a < b for a, b in zip(seen[4:], passed[4:], strict=True)]
    assert 0.3 < np.mean(older) < 0.7
    # each image is shown once, and is in the pool, or was both shown when new and never kept
    kept = [float(x) for x in pool.images[:, 0, 0, 0]]
    assert len(set(seen[4:])) == len(seen[4:]) and len(set(kept)) == 4
    assert set(passed) == set(seen) | set(kept)
