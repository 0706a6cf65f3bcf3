"""Measures one run of a grid: `python -m srgan_jax.evaluation.measure RUN SET ...`, in a process of its own.

So that no other process holds the accelerator while the next run trains.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from srgan_jax.data.images import write_png
from srgan_jax.errors import UserError
from srgan_jax.evaluation.evaluate import evaluate
from srgan_jax.evaluation.pairs import find_set
from srgan_jax.files import replacing
from srgan_jax.inference.lpips import make_lpips
from srgan_jax.inference.pictures import Picture
from srgan_jax.metrics import from_json, to_json
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.lpips_file import default_lpips, find_lpips

FIGURES = "figures.json"
SIDE = 96  # of the centre cuts, in pixels of HR
SHOWN = 5  # photographs of each set, the first by name


def measure(run: Path, folders: list[Path]) -> dict[str, Any]:
    """Figures of the run's latest checkpoint on each set: those of `evaluate`, written to `run`/figures.json.

    Beside them go `run`/cuts/SET/NAME/{lr,bicubic,sr,hr}.png, centre cuts that show the same place. LPIPS is measured
    where `srgan convert lpips` has brought its weights.

    Raises:
      UserError: no checkpoint, or a set that cannot be read.
    """
    generator = load_generator(run, field="--workdir", which="latest")
    scale, data = generator.config.scale, generator.config.data
    given = {"scale": scale, "boundary": data.boundary, "data": data if scale == 1 else None}
    sets = dict(find_set(folder, **given) for folder in folders)
    asked = conditions(folders)
    lpips = [make_lpips(find_lpips(network, "--lpips"), "--lpips") for network in asked["lpips"]]
    result, outputs = evaluate([generator], sets, lpips)
    for name, pairs in sets.items():
        control, ours = outputs[name]
        shutil.rmtree(run / "cuts" / name, ignore_errors=True)  # of a measurement before, on other photographs
        for index, photograph in enumerate(pairs.names[:SHOWN]):
            folder = run / "cuts" / name / photograph.replace("/", "_")
            write_png(folder / "lr.png", cut(pairs.lr[index], SIDE // scale))
            versions = {"sr": ours, "hr": pairs.hr} | ({"bicubic": control} if scale > 1 else {})
            for kind, pictures in versions.items():
                write_png(folder / f"{kind}.png", cut(pictures[index], SIDE // scale, scale))
    # Orbax keeps what a JSON item holds in a file of this name
    meta = json.loads((run / "checkpoints" / str(generator.step) / "meta" / "metadata").read_text())
    result |= {"trained_on": meta["facts"], "asked": asked}
    with replacing(run / FIGURES) as partial:
        partial.write_text(to_json(result, indent=1) + "\n")
    return result


def cut(picture: Picture, side: int, scale: int = 1) -> Picture:
    """The centre `side` pixels of LR (at most all) of a picture `scale` times its size, the same place at any scale."""
    top, left = (max(n // scale - side, 0) // 2 * scale for n in picture.shape[:2])
    return picture[top : top + side * scale, left : left + side * scale]


def measured(run: Path, step: int, folders: list[Path]) -> dict[str, Any] | None:
    """What `measure` left there, if it is of that step and what would be measured now.

    Photographs that were changed where they lie are not noticed: remove figures.json to measure again.
    """
    try:
        result = from_json((run / FIGURES).read_text())
        fits = result["methods"][1]["step"] == step and result["asked"] == conditions(folders)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return result if fits else None


def conditions(folders: list[Path]) -> dict[str, Any]:
    return {"sets": [str(folder.resolve()) for folder in folders], "lpips": default_lpips()}


if __name__ == "__main__":
    try:
        measure(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
    except UserError as error:
        sys.exit(str(error))
