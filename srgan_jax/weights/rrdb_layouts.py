"""Names of ESRGAN's generator, RRDBNet: those of BasicSR and Real-ESRGAN, and the two that ESRGAN itself had before."""

import re

from srgan_jax.errors import UserError
from srgan_jax.models.rrdb import CONVS, DENSE
from srgan_jax.weights.tensors import Tensors

DENSE_ROWS = tuple(
    (f"block_{{i}}/dense_{j}/conv_{k}", f"body.{{i}}.rdb{j + 1}.conv{k + 1}")
    for j in range(DENSE)
    for k in range(CONVS)
)
RRDB = (
    ("once", (("conv_first", "conv_first"),)),
    ("blocks", DENSE_ROWS),
    ("once", (("conv_after", "conv_body"),)),
    ("stages", (("conv_up_{i}", "conv_up{i+1}"),)),
    ("once", (("conv_hr", "conv_hr"), ("conv_last", "conv_last"))),
)
SECOND = {  # ESRGAN's from 2018 on, to BasicSR's
    r"RRDB_trunk\.(\d+)\.RDB(\d)\.": r"body.\1.rdb\2.",
    r"trunk_conv\.": "conv_body.",
    r"upconv(\d)\.": r"conv_up\1.",
    r"HRconv\.": "conv_hr.",
}
FIRST = {  # its first ones, positions in an nn.Sequential; activations and enlargements count
    r"model\.0\.": "conv_first.",
    r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.": r"body.\1.rdb\2.conv\3.",
    r"model\.1\.sub\.\d+\.(?=weight$|bias$)": "conv_body.",
}
PLACE = re.compile(r"model\.(\d{1,2})\.weight$")


def as_basicsr(tensors: Tensors, where: str) -> Tensors:
    """The tensors of an RRDBNet by BasicSR's names; those of anything else as they are.

    Raises UserError, which begins with `where`, if two tensors would have one name.
    """
    if "RRDB_trunk.0.RDB1.conv1.weight" in tensors:
        rules = SECOND
    elif "model.1.sub.0.RDB1.conv1.0.weight" in tensors:
        after = sorted({int(found[1]) for found in map(PLACE.match, tensors) if found} - {0, 1})
        names = [*(f"conv_up{i + 1}" for i in range(len(after) - 2)), "conv_hr", "conv_last"]
        rules = FIRST | {rf"model\.{place}\.": f"{name}." for place, name in zip(after, names, strict=False)}
    else:
        return tensors
    renamed: Tensors = {}
    for name, array in tensors.items():
        fitting = next((pattern for pattern in rules if re.match(pattern, name)), None)
        plain = re.sub(f"^{fitting}", rules[fitting], name) if fitting else name
        if plain in renamed:
            raise UserError(f"{where}: {name} is there twice, by two names; give the weights of one network")
        renamed[plain] = array
    return renamed
