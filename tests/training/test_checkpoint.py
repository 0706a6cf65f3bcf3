"""Saved, verified, restored, put away; what a run says of itself."""

import json
import shutil
from contextlib import closing

import pytest
from running import bits, command, made_up_state, names, train

from configs import tiny_gan
from srgan_jax import __version__, config
from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.training import checkpoint, loop, trained
from srgan_jax.training.checkpoint import Checkpoints
from srgan_jax.training.saved_step import metric
from srgan_jax.training.trained import load_generator


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """With checkpoints at steps 2 and 4. To be copied before it is damaged."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    train("tiny", workdir, "steps=4", "checkpoint.every=2", "validation.every=2", "log.tensorboard=False")
    return workdir


def test_a_damaged_step_is_put_away_beside_an_earlier_one_and_its_number_used_again(tmp_path, warned):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, made_up_state(step), {"n": step}, {"psnr_y": float(step)})
    (tmp_path / "quarantine" / "6").mkdir(parents=True)
    (tmp_path / "checkpoints" / "6").mkdir()  # Orbax takes it for the latest
    (tmp_path / "checkpoints" / "4" / "meta" / "metadata").write_text('{"n": 5}')
    with closing(Checkpoints(tmp_path)) as checkpoints:
        restored, meta = checkpoints.restore(made_up_state(0))
        assert bits(restored) == bits(made_up_state(2))
        assert meta == {"n": 2} and names(tmp_path / "quarantine") == ["4", "6", "6-1"]
        assert "checkpoint 6 is damaged (it holds no state)" in warned[0]
        assert "checkpoint 4 is damaged (the digest of meta differs)" in warned[1] and len(warned) == 2
        checkpoints.save(4, made_up_state(4), {"n": 4}, {"psnr_y": 1.0})
    assert names(tmp_path / "checkpoints") == ["2", "4"]
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert bits(checkpoints.restore(made_up_state(0))[0]) == bits(made_up_state(4))


def test_what_is_validated_is_saved_and_may_be_the_best(tmp_path):
    fields = ("steps=8", "checkpoint.every=8", "checkpoint.keep=1", "validation.every=3", "optimizer.learning_rate=.05")
    train("tiny", tmp_path, *fields, "log.tensorboard=False")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["validation/psnr_y"] for line in lines if "validation/psnr_y" in line}
    best = max(measured, key=measured.__getitem__)
    assert list(measured) == [3, 6, 8] and best < 8
    assert names(tmp_path / "checkpoints") == [str(best), "8"]
    assert load_generator(str(tmp_path), field="--checkpoint").step == best


def test_figures_of_other_pictures_do_not_compete_for_the_best(tmp_path):
    """As after a run went on with another config.validation.path, on easier pictures at first."""
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        for step, psnr, of in ((1, 30.0, 7.0), (2, 20.0, 8.0), (3, 22.0, 8.0), (4, 21.0, 8.0), (5, 20.5, 8.0)):
            checkpoints.save(step, made_up_state(step), {}, {"psnr_y": psnr, "of": of})
    assert names(tmp_path / "checkpoints") == ["3", "5"]
    assert (
        metric({"psnr_y": 30.0}, 8.0) == metric({"psnr_y": 30.0, "of": 7.0}) == 30.0
    )  # of a version that kept no such
    run = tmp_path / "run"
    with closing(Checkpoints(run, keep=2)) as checkpoints:
        for step, psnr, of in ((1, 30.0, 7.0), (2, 20.0, 8.0)):
            checkpoints.save(step, made_up_state(step), {}, {"psnr_y": psnr, "of": of})
    (run / "config.json").write_text(config.to_json(tiny_gan.get_config()))
    assert names(run / "checkpoints") == ["1", "2"] and load_generator(run, field="").step == 2


def test_from_image_to_image_the_smaller_l1_is_the_better():
    assert metric({"l1": 0.1, "psnr_y": 30.0}) > metric({"l1": 0.2, "psnr_y": 40.0})


def test_a_workdir_that_was_moved_ends_the_run_and_lost_checkpoints_do_not(tmp_path, warned):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    with closing(Checkpoints(tmp_path / "run")) as checkpoints:
        checkpoints.save(1, made_up_state(1), {}, None)
        checkpoints.wait()
        shutil.rmtree(tmp_path / "run" / "checkpoints")
        checkpoints.save(2, made_up_state(2), {}, None)
        checkpoints.wait()
        assert names(tmp_path / "run" / "checkpoints") == ["2"] and not warned
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(UserError, match=f"^{tmp_path}/run: is gone; if it was moved"):
            checkpoints.save(3, made_up_state(3), {}, None)
        (tmp_path / "run").mkdir()  # by whoever: it is not that run
        with pytest.raises(UserError, match=f"^{tmp_path}/run: is gone; if it was moved"):
            checkpoints.save(4, made_up_state(4), {}, None)
    assert names(tmp_path / "run") == [] and names(tmp_path / "moved" / "checkpoints") == ["2"]
    with closing(Checkpoints(tmp_path / "moved")) as checkpoints:
        (tmp_path / "moved").rename(tmp_path / "again")  # before anything is saved
        with pytest.raises(UserError, match=f"^{tmp_path}/moved: is gone; if it was moved"):
            checkpoints.save(3, made_up_state(3), {}, None)


def test_a_workdir_that_is_moved_before_the_first_save_ends_the_run(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    monkeypatch.setattr(loop, "make_upscale", lambda network: run.rename(tmp_path / "moved"))  # while it is compiled
    fields = ("steps=4", "checkpoint.every=2", "validation.every=0", "log.tensorboard=False")
    assert main(command("tiny", run, *fields)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"srgan train: {run}: is gone; if it was moved")
    assert "checkpoints" not in names(run) and (tmp_path / "moved" / "config.json").exists()


def test_a_complete_run_stays_what_it_was(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    before = (run / "config.json").read_bytes()
    train("tiny", run, "steps=3", "init_from=srresnet_small", "checkpoint.every=1", "log.tensorboard=False")
    assert (run / "config.json").read_bytes() == before
    train("tiny", run, "steps=5", "init_from=srresnet_small", "checkpoint.every=1", "log.tensorboard=False")
    config = json.loads((run / "config.json").read_text())
    assert config["steps"] == 5 and config["init_from"] == ""  # where it did not come from


def test_none_good_stops_now_and_at_the_next_start(tmp_path, warned):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, made_up_state(2), {}, None)
    for path in (tmp_path / "checkpoints" / "2" / "state").rglob("d/*"):
        path.write_bytes(bytes(path.stat().st_size))
    with closing(Checkpoints(tmp_path)) as checkpoints, pytest.raises(UserError, match="no good checkpoint is left"):
        checkpoints.restore(made_up_state(0))
    assert len(warned) == 1
    with pytest.raises(UserError, match=f"{tmp_path}/quarantine"):
        Checkpoints(tmp_path)


def test_one_without_digests_is_restored_with_a_warning(tmp_path, warned):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, made_up_state(2), {}, None)
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "digests")
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert bits(checkpoints.restore(made_up_state(0))[0]) == bits(made_up_state(2))
    assert "without digests: it could not be verified" in warned[0] and len(warned) == 1


def test_another_network_is_no_damage(tmp_path, warned):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, made_up_state(2), {}, None)
        with pytest.raises(UserError, match="arrays of another network"):
            checkpoints.restore(made_up_state(0).replace(d=None))
    assert names(tmp_path / "checkpoints") == ["2"] and not warned


def test_a_step_before_the_last_is_not_saved_in_silence(tmp_path, warned):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(4, made_up_state(4), {}, None)
        checkpoints.save(2, made_up_state(2), {}, None)
        checkpoints.save(6, made_up_state(6), {}, None)
    assert names(tmp_path / "checkpoints") == ["4", "6"]
    assert "not saved at step 2 (a later step is there)" in warned[0] and len(warned) == 1


def test_one_that_is_removed_while_it_is_read_is_no_damage(trained_run, tmp_path, monkeypatch):
    """As by the run, once it has saved a later one."""
    run = shutil.copytree(trained_run, tmp_path / "run")
    read = trained.read_records

    def removed_before(step):
        if step.name == "2":
            shutil.rmtree(step)
        return read(step)

    monkeypatch.setattr(trained, "read_records", removed_before)
    assert load_generator(run, field="--checkpoint").step == 4


def test_a_checkpoint_says_what_made_it_and_a_damaged_one_is_not_used_for_results(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    meta = json.loads((run / "checkpoints" / "4" / "meta" / "metadata").read_text())
    assert meta["config"]["steps"] == 4 and meta["config"]["generator"]["features"] == 8
    assert meta["code"]["srgan_jax"] == __version__ and meta["code"].keys() >= {"commit", "jax", "device"}

    for path in (run / "checkpoints" / "4" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"checkpoints/4: damaged \(state: .*; move it away, .* to use step 2"):
        load_generator(run, field="--checkpoint", which="latest")
    assert names(run / "checkpoints") == ["2", "4"]
    for path in (run / "checkpoints" / "2" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"checkpoints/2: damaged \(state: .*; move it away, to use step 4"):
        load_generator(run, field="--checkpoint", which=2)  # which no resuming looks at
    (run / "checkpoints").rename(run / "quarantine")
    with pytest.raises(UserError, match="no good checkpoint is left; .*/run/quarantine has the damaged"):
        load_generator(run, field="--checkpoint")


def test_half_of_a_step_that_was_being_removed_is_no_damage(tmp_path, monkeypatch, warned):
    """A killed process had not come to the end of removing it."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "remove_old", lambda folder: None)
        with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, made_up_state(step), {}, None)
    old = tmp_path / "checkpoints" / "old"
    assert names(old) == ["1", "2"]  # out of the way before anything in them was removed
    shutil.rmtree(old / "2" / "meta")
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        assert not old.exists()
        assert bits(checkpoints.restore(made_up_state(0))[0]) == bits(made_up_state(3))
        checkpoints.save(4, made_up_state(4), {}, None)
        checkpoints.wait()
        assert names(tmp_path / "checkpoints") == ["4"]
    assert not warned and not (tmp_path / "quarantine").exists()
