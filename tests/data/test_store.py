"""The store: the same photographs as decoding gives, decoded once, whatever happens on the way."""

import json
import logging
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from running import ROOT, assert_same_bits, command, train

from configs import base
from srgan_jax.__main__ import main
from srgan_jax.data import device_pipeline, store
from srgan_jax.data.feed import make_feed
from srgan_jax.data.images import read_image
from srgan_jax.data.sources import folder_source, make_source
from srgan_jax.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "COMMIT_SECONDS", 0.0)


def folder(path, crop=16):
    """(source, names of the photographs that it has decoded)."""
    source, decoded = folder_source(path, crop, "config.data.path"), []
    read = source.read

    def counted(index):
        decoded.append(source.names[index])
        return read(index)

    source.read = counted
    return source, decoded


def stored(source, place):
    return store.mapped(source, place, store.prepare(source, place, "field"))


def assert_equal(source, photographs):
    for index, name in enumerate(source.names):
        np.testing.assert_array_equal(source.photograph(index), read_image(photographs / name))


def save(path: Path, side=(30, 40), seed=1):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*side, 3), np.uint8)).save(path)


def test_photographs_are_views_of_what_was_decoded_once(photographs, tmp_path):
    source, decoded = folder(photographs)
    mapped = stored(source, tmp_path / "store")
    assert sorted(decoded) == source.names == mapped.names and mapped.fingerprint == source.fingerprint
    assert_equal(mapped, photographs)
    assert mapped.photograph(0).base is not None and not mapped.photograph(0).flags.writeable
    assert mapped.sizes == source.sizes == [(20, 30), (40, 24), (33, 33), (64, 48), (25, 50)]
    again, decoded = folder(photographs)
    assert_equal(stored(again, tmp_path / "store"), photographs)
    assert decoded == []


def test_only_what_changed_is_decoded_again(photographs, tmp_path):
    stored(folder(photographs)[0], tmp_path / "store")
    save(photographs / "b.png", seed=7)
    save(photographs / "new.png", seed=8)
    (photographs / "d.png").unlink()
    source, decoded = folder(photographs)
    assert_equal(stored(source, tmp_path / "store"), photographs)
    assert sorted(decoded) == ["b.png", "new.png"]


def test_a_smaller_crop_adds_the_photographs_that_it_lets_in(photographs, tmp_path):
    stored(folder(photographs, crop=32)[0], tmp_path / "store")
    source, decoded = folder(photographs)
    assert_equal(stored(source, tmp_path / "store"), photographs)
    assert sorted(decoded) == ["a.png", "b.png", "e.png"]


def test_several_shards(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 5000)
    assert_equal(stored(folder(photographs)[0], tmp_path / "store"), photographs)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "store").glob("*.raw"))]
    assert sizes == [20 * 30 * 3 + 40 * 24 * 3, 33 * 33 * 3, 64 * 48 * 3, 25 * 50 * 3]
    save(photographs / "z.png", (16, 16))
    assert_equal(stored(folder(photographs)[0], tmp_path / "store"), photographs)
    assert len(list((tmp_path / "store").glob("*.raw"))) == 4


@pytest.mark.parametrize("pipeline", ["host", "device"])
def test_samples_do_not_depend_on_the_store(photographs, tmp_path, pipeline):
    (photographs / "c.png").write_bytes((photographs / "c.png").read_bytes()[:-200])  # broken: another stands in
    seen = []
    for place in ("none", "", str(tmp_path / "store"), str(tmp_path / "store")):
        config = base.get_config()
        config.data.update(source="folder", path=str(photographs), store=place, pipeline=pipeline, crop=16, tile=32)
        config.steps_per_call = 3
        feed = make_feed(config, make_source(config.data))
        fed = jax.tree.map(jnp.asarray, next(feed.start(2)))
        cut = jax.jit(feed.crops, static_argnums=1)
        seen.append(np.stack([cut(fed, i, jnp.int32(6 + i)) for i in range(3)]))
    assert all((other == seen[0]).all() for other in seen)
    assert any((tmp_path / "cache" / "srgan_jax" / "photographs").glob("photographs-*/00000.raw"))


def test_broken_photographs_are_named_and_replaced_as_without_a_store(photographs, tmp_path, caplog):
    (photographs / "c.png").write_bytes((photographs / "c.png").read_bytes()[:-200])
    plain, said = folder(photographs)[0], []
    expected = [plain.photograph(index) for index in range(5)]
    for source in (plain, stored(plain, tmp_path / "store"), stored(plain, tmp_path / "store")):
        for index in range(5):
            np.testing.assert_array_equal(source.photograph(index), expected[index])
        said += [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        caplog.clear()
    assert len(said) == 3 and len(set(said)) == 1 and said[0].startswith("skipped c.png: ")


def test_leftovers_and_damage_are_mended(photographs, tmp_path):
    place = tmp_path / "store"
    source = folder(photographs)[0]
    stored(source, place)
    head, *lines = (place / "index.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    for fault in (
        '["torn',
        json.dumps([first[0], 0, 10**9, 20, 30]),  # beyond the shard
        json.dumps([first[0], 0, -60, 20, 30]),
        json.dumps([first[0], 7, 0, 20, 30]),  # no such shard
        json.dumps([first[0], 0, 0, 20]),
        "[" * 100_000,
    ):
        (place / "index.jsonl").write_text("\n".join([head, *lines[1:], fault]))
        with (place / "00000.raw").open("ab") as file:
            file.write(b"left by a kill")
        (place / "00003.raw").write_bytes(b"left by a kill")
        again, decoded = folder(photographs)
        assert_equal(stored(again, place), photographs)
        assert decoded == [again.names[source.marks.index(first[0])]]
        lines = (place / "index.jsonl").read_text().splitlines()[1:]
        lines = [line for line in lines if json.loads(line)[0] == first[0]] + [
            line for line in lines if json.loads(line)[0] != first[0]
        ]
        assert not (place / "00003.raw").exists()
    (place / "00000.raw").write_bytes(b"")  # all pixels lost
    again, decoded = folder(photographs)
    assert_equal(stored(again, place), photographs)
    assert len(decoded) == 5


PREPARE = """
import sys, time
from pathlib import Path
from srgan_jax.data import store
from srgan_jax.data.sources import folder_source
store.COMMIT_SECONDS = 0.0
source = folder_source(sys.argv[1], 16, "DIR")
read = source.read
def slow(index):
    time.sleep(0.1)
    print(source.names[index], flush=True)
    return read(index)
source.read = slow
store.prepare(source, Path(sys.argv[2]), "-o")
"""


def prepare_elsewhere(*arguments: Path) -> subprocess.Popen:
    argv = [sys.executable, "-c", PREPARE, *map(str, arguments)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def many(path: Path, count: int = 40) -> Path:
    path.mkdir()
    for number in range(count):
        save(path / f"{number:02d}.png", seed=number)
    return path


def test_killed_it_goes_on_where_it_was(tmp_path):
    photographs, place = many(tmp_path / "many"), tmp_path / "store"
    finished = []
    for least in (1, 10):
        process = prepare_elsewhere(photographs, place)
        deadline = time.monotonic() + 60
        while len(store.load(place, "field")) < least:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finished.append(set(store.load(place, "field")))
    assert finished[0] < finished[1]
    source, decoded = folder(photographs)
    assert_equal(stored(source, place), photographs)
    assert len(finished[1]) >= 10 and len(decoded) == 40 - len(finished[1])


def test_two_at_once_decode_once(tmp_path):
    photographs, place = many(tmp_path / "many", 10), tmp_path / "store"
    processes = [prepare_elsewhere(photographs, place) for _ in range(2)]
    decoded = [process.communicate(timeout=60)[0].count(".png") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(decoded) == [0, 10]
    assert_equal(stored(folder(photographs)[0], place), photographs)


def test_a_write_that_fails_is_one_line_and_leaves_a_valid_store(photographs, tmp_path):
    place = tmp_path / "store"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7000, before[1]))
    try:
        with pytest.raises(store.NoStore, match=f"^field={place}: File too large; choose a folder with room") as caught:
            store.prepare(folder(photographs)[0], place, "field")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    kept = store.load(place, "field")
    assert len(kept) == 2 and (place / "00000.raw").stat().st_size == 20 * 30 * 3 + 40 * 24 * 3
    source, decoded = folder(photographs)
    assert_equal(stored(source, place), photographs)
    assert len(decoded) == 3


@pytest.mark.parametrize("sizes", ["known", "not known"])
def test_too_little_room_is_seen_before_the_disk_is_full(photographs, tmp_path, monkeypatch, sizes):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    source, decoded = folder(photographs)
    source.sizes = source.sizes if sizes == "known" else []
    with pytest.raises(store.NoStore, match="^field=.*too little room for 5 decoded photographs"):
        store.prepare(source, tmp_path / "store", "field")


def test_places_that_will_not_do(photographs, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.jsonl").write_text('{"format": 0}\n')
    source = folder(photographs)[0]
    for place, reason in [
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "sub", "Not a directory"),
        (Path("/proc/store"), "No such file"),
        (photographs, "something else"),
        (tmp_path / "old", "not a store of this version"),
    ]:
        with pytest.raises(store.NoStore, match=f"^field={place}.*{reason}"):
            store.prepare(source, place, "field")
    data = base.get_config().data
    data.update(source="folder", path=str(photographs), crop=16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert store.with_store(source, data) is source  # the default place is done without
    assert "Not a directory" in caplog.text and "decoded whenever they are needed" in caplog.text
    data.store = str(tmp_path / "file")
    with pytest.raises(UserError, match="^config.data.store="):
        store.with_store(source, data)


def test_the_command(photographs, tmp_path, capsys):
    (photographs / "c.png").write_bytes((photographs / "c.png").read_bytes()[:-200])
    arguments = ["data", "prepare", str(photographs), "--crop", "16"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert f"{photographs}/c.png: broken: " in said.out and "4 photographs ready in" in said.out
    assert "decoded 5/5 (100 %)" in said.err and "ETA" in said.err
    assert main([*arguments, "-o", str(tmp_path / "store")]) == 0
    assert f"--config.data.store={tmp_path}/store --config.data.crop=16\n" in capsys.readouterr().out
    assert main([*arguments, "-o", str(photographs)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"srgan data: -o={photographs}: ")
    assert main(["data", "prepare", str(tmp_path / "nowhere")]) == 2


def test_a_run_keeps_its_pipeline_and_does_not_feel_the_store(photographs, tmp_path, monkeypatch):
    fields = ["data.source=folder", f"data.path={photographs}", "checkpoint.every=2", "validation.every=0"]
    fields += ["log.tensorboard=False", "data.tile=16"]
    train("tiny", tmp_path / "plain", *fields, "steps=4", "data.store=none", "data.pipeline=host")
    train("tiny", tmp_path / "stored", *fields, "steps=2")
    assert json.loads((tmp_path / "stored" / "config.json").read_text())["data"]["pipeline"] == "host"
    monkeypatch.setattr(device_pipeline, "free_memory", lambda: 10**9)  # now auto would be device
    train("tiny", tmp_path / "stored", *fields, "steps=4")
    assert_same_bits(tmp_path / "plain", tmp_path / "stored")
    assert main(command("tiny", tmp_path / "stored", *fields, "steps=6", "data.pipeline=device")) == 2
    train("tiny", tmp_path / "device", *fields, "steps=2")
    assert json.loads((tmp_path / "device" / "config.json").read_text())["data"]["pipeline"] == "device"
