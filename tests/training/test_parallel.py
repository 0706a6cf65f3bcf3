"""One device or four: the same update."""

import numpy as np
import pytest
from running import command, leaves, logged, run, spawn

from srgan_jax.training.trained import load_generator


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_four_devices_equal_one(tmp_path, pipeline):
    """With a large epsilon Adam is plain momentum: it neither hides a gradient's scale nor blows up its rounding.

    Two updates, since players of this size at this rate soon magnify rounding.
    """
    fields = ("steps=2", "checkpoint.every=2", "validation.every=0", "log.every=1", f"data.pipeline={pipeline}")
    for devices in (1, 4):
        plain = ("optimizer.eps=1.0", "optimizer.learning_rate=0.01")
        run(command("tiny_gan", tmp_path / str(devices), *fields, *plain), devices)
    one, four = (leaves(tmp_path / str(devices)) for devices in (1, 4))
    assert one.keys() == four.keys()
    for name in one:
        np.testing.assert_allclose(four[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)
    assert int(load_generator(tmp_path / "4", field="").step) == 2  # read on one device
    for name in ("g/grad_norm", "d/grad_norm", "g/loss", "d/loss"):
        first, second = (logged(tmp_path / str(devices), name) for devices in (1, 4))
        assert list(second.values()) == pytest.approx(list(first.values()), rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    process = spawn(command("tiny", tmp_path / "run", "batch_size=6"), devices=4)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.splitlines() == ["srgan train: config.batch_size=6: not divisible by the 4 devices"]
    assert not (tmp_path / "run").exists()
