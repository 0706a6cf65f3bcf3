"""What the Markdown pages name is there: files, commands, their flags, fields of the config."""

import contextlib
import functools
import io
import re
from pathlib import Path

import pytest

from srgan_jax import config as configs
from srgan_jax.__main__ import COMMANDS, main
from srgan_jax.fields import flatten

ROOT = Path(__file__).parent.parent
BUILT = {"runs", "demo", "build", "dist"}
PAGES = [p for p in sorted(ROOT.rglob("*.md")) if not any(x in BUILT or x[0] == "." for x in p.relative_to(ROOT).parts)]
FIELDS = flatten(configs.load(str(ROOT / "configs" / "base.py"), []))
SECTIONS = {name[: dot.start()] for name in FIELDS for dot in re.finditer(r"\.", name)}
CODE = re.compile(r"^(?: {4}|\t).*|(?<!`)`[^`\n]+(?:\n[^`\n]+)?`", re.MULTILINE)  # a block's line, or a span
COMMAND = re.compile(r"(?:^|[\s/`])(?:srgan|python -m srgan_jax) ([a-z]\w*):?(?: +([^\n|;#`]*))?", re.MULTILINE)


def code(text: str) -> list[str]:
    return CODE.findall(text.replace("\\\n", " "))


def link_faults(text: str, folder: Path) -> list[str]:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [t for t in targets if t and not t.startswith(("http://", "https://")) and not (folder / t).exists()]


@functools.cache
def flags_of(command: str, action: str) -> set[str]:
    """From the help of the command, or of its `action`, if that is one; another word changes nothing."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as end:
        main([command, *re.findall("^[a-z].*", action), "--help"])
    assert end.value.code == 0
    options = [line.strip().split("  ")[0] for line in shown.getvalue().splitlines() if re.match(r" +-", line)]
    return set(re.findall(r"(?<!\S)--?[a-z][\w-]*", " ".join(options)))


def command_faults(text: str) -> list[str]:
    faults = []
    for command, rest in COMMAND.findall("\n".join(code(text))):
        if command not in COMMANDS:
            faults.append(command)
            continue
        flags = re.findall(r"(?<!\S)--?[a-z][\w-]*(?![\w.-])", rest)
        if flags:
            faults += [f"{command} {flag}" for flag in flags if flag not in flags_of(command, rest.split()[0])]
    return faults


def field_faults(text: str) -> list[str]:
    """Of --config.FIELD anywhere, and of a section's fields where they stand as code."""
    named = re.findall(r"--config\.([a-z][\w.]*\w)", text)
    spans = [re.match(r"`(?:config\.)?([a-z_]+\.[a-z][\w.]*)[`=]", span) for span in code(text)]
    named += [m[1] for m in spans if m and m[1].split(".")[0] in SECTIONS and not m[1].endswith(".py")]
    return [name for name in named if name not in FIELDS and name not in SECTIONS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    assert link_faults(text, page.parent) == []
    assert command_faults(text) == []
    assert field_faults(text) == []


def test_pages_are_found_and_read():
    assert {ROOT / "README.md", ROOT / "docs" / "training.md"} <= set(PAGES)
    commands = COMMAND.findall("\n".join(code((ROOT / "README.md").read_text())))
    assert {"train", "evaluate", "convert"} <= {command for command, _ in commands}


@pytest.mark.parametrize(
    "text",
    [
        "[a page](docs/no_such.md)",
        "    srgan enlarge -i a.png",
        "say `python -m srgan_jax enlarge`",
        "    srgan train --config=a.py \\\n        --work=b",
        "    launch/local.sh 2 python -m srgan_jax train --config=a.py --work=b",
        "    srgan convert vgg19 --download --fetch",
        "    srgan upscale -z a.png",
        "set `--config.batchsize=3`",
        "`data.pipe` chooses",
        "`config.loss.feature.weigth=1`",
    ],
)
def test_a_fault_is_seen(text):
    assert link_faults(text, ROOT) or command_faults(text) or field_faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "[a page](README.md#train) and [another](https://example.org/x)",
        "srgan walks, and `srgan COMMAND --help` shows",
        "    srgan convert vgg19 FILE --origin caffe | tee --append log",
        "    srgan train --config=a.py --workdir=b -- --config.steps=3",
        "`loss.feature` and `data.pipeline=host`, but `parallel.py`",
    ],
)
def test_what_is_there_is_no_fault(text):
    assert not link_faults(text, ROOT) and not command_faults(text) and not field_faults(text)
