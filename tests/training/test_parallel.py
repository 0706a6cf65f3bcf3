"""One device or four: the same update."""

import numpy as np
import pytest
from running import command, leaves, run


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_four_devices_equal_one(tmp_path, pipeline):
    """Adam's normalisation would hide a gradient of the wrong scale, so the gradient norm is compared too."""
    fields = ("steps=4", "checkpoint.every=2", "validation.every=0", "log.every=1", f"data.pipeline={pipeline}")
    for devices in (1, 4):
        run(command("tiny_gan", tmp_path / str(devices), *fields), devices)
    one, four = (leaves(tmp_path / str(devices)) for devices in (1, 4))
    assert one.keys() == four.keys()
    for name in one:
        np.testing.assert_allclose(four[name], one[name], rtol=2e-3, atol=2e-4, err_msg=name)
    import json

    for name in ("g/grad_norm", "d/grad_norm", "g/loss"):
        first = [
            json.loads((tmp_path / str(devices) / "metrics.jsonl").read_text().splitlines()[0])[name]
            for devices in (1, 4)
        ]
        assert first[1] == pytest.approx(first[0], rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    from running import spawn

    process = spawn(command("tiny", tmp_path / "run", "batch_size=6"), devices=4)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.splitlines() == ["srgan train: config.batch_size=6: not divisible by the 4 devices"]
    assert not (tmp_path / "run").exists()
