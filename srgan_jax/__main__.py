"""`python -m srgan_jax COMMAND`, or `srgan COMMAND`: lists the commands, imports one."""

import importlib
import importlib.util
import logging
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from absl import flags
from absl import logging as absl_logging

from srgan_jax import __version__
from srgan_jax.errors import UserError, printable, said
from srgan_jax.memory import keep_memory

PROGRAMS = 2 * 10**9  # bytes of compiled programs that are kept, those used last
SHOWN = sys.unraisablehook
HELP = ("-h", "--help")
VERSION = "--version"
COMMANDS = {
    "train": "train a network as a config file describes, or go on with a run",
    "replay": "run the update again at which a training diverged",
    "calibrate": "propose the weight of the content loss for feature weights of another origin",
    "evaluate": "measure runs against bicubic on data sets",
    "ablate": "train and measure the rows and seeds of a grid, and report on them",
    "report": "write a grid's report again",
    "compare": "write a page to compare pictures, or what several networks make of one",
    "upscale": "enlarge a picture, or a folder of them, by a trained network",
    "translate": "make other pictures of pictures, by a network trained from image to image",
    "serve": "a page in the browser to enlarge pictures",
    "convert": "bring weights from elsewhere into the form that is used here, or a network out of it",
    "export": "write a trained network as StableHLO, ONNX or one small file of weights",
    "data": "look a folder of photographs over, or decode it, before training",
}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 some of many inputs failed, 2 bad input or a file out of reach, said in one line.

    128 and the signal's number: stopped by Ctrl-C, or nobody reads what is printed.
    """
    argv = sys.argv[1:] if argv is None else argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    name, *rest = argv or ["--help"]
    if name not in (*COMMANDS, *HELP, VERSION):
        print(f"srgan: no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    ours = logging.getLogger("srgan_jax")
    ours.setLevel(logging.INFO)
    ours.handlers, ours.propagate = [logging.StreamHandler()], False
    ours.handlers[0].setFormatter(OneLine())
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")  # at half of what is refused
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax tells of every save, and in tracebacks of what is caught
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # likewise
    sys.unraisablehook = without_echoes
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags
    try:
        if name == VERSION:
            print(f"srgan {__version__}", flush=True)
            return 0
        if name in HELP:
            print("usage: srgan COMMAND ...; srgan COMMAND --help\n")
            print("\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items()), flush=True)
            return 0 if argv else 2
        rest = [expanded(argument) for argument in rest]
        refuse_empty(rest)
        with stopped_at_once(name):
            keep_programs(ours)
            if name == "train":  # nothing else needs the same block again and again
                keep_memory()
            command = importlib.import_module(f"srgan_jax.commands.{name}")
        code: int = command.main(rest)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stopped:  # by the signal that it names
        print(f"srgan {name}: stopped", file=sys.stderr)
        return 128 + int((stopped.args or (signal.SIGINT,))[0])
    except BrokenPipeError:
        if not reader_gone():
            raise
        return 128 + signal.SIGPIPE
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        line = said(error)
        if line is None and name != "train" and "Unable to initialize backend" in str(error):  # train is started again
            line = f"{str(error).splitlines()[0]}; is it in use? JAX_PLATFORMS=cpu does without"
        if line is None:
            raise
    print(f"srgan {name}: {printable(line)}", file=sys.stderr)
    return 2


def expanded(argument: str) -> str:
    """--workdir=~/runs with the home directory, which shells do not put in behind an equals sign."""
    name, _, value = argument.partition("=")
    return f"{name}={os.path.expanduser(value)}" if name.startswith("--") and value.startswith("~/") else argument


def refuse_empty(arguments: list[str]) -> None:
    """Path("") is the folder one is in, which nobody means who gives a variable that is not set."""
    option = "an argument"
    for argument in arguments:
        name, equals, value = argument.partition("=")
        option = name if argument.startswith("-") else option
        empty = not argument or (argument.startswith("--") and equals and not value)
        if empty and not option.startswith(("--config.", "--suffix")):
            raise UserError(f"{option}: is empty; was a variable not set?")


@contextmanager
def stopped_at_once(name: str) -> Iterator[None]:
    """Ctrl-C ends the process while packages are imported, some of which would make an ImportError of it."""

    def stop(number: int, frame: Any) -> None:
        with suppress(OSError):  # closed
            os.write(2, f"srgan {name}: stopped\n".encode())
        os._exit(128 + number)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, say
    if usual:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class OneLine(logging.Formatter):
    """A message may name a file that somebody else has named."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))


def reader_gone() -> bool:
    """Whether nobody reads standard output any more (`srgan ... | head`); if so, what is left for it is dropped."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    gone = bool(output.poll(0))  # only of an error, when asked for nothing
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def without_echoes(unraisable: Any) -> None:
    """For sys.unraisablehook: after one array has failed, each that was under way finds Orbax's event loop closed.

    Ctrl-C that Python drops, as it does within jax's callback for the garbage collector, is raised again soon after.
    """
    if unraisable.exc_type is KeyboardInterrupt:
        number = (getattr(unraisable.exc_value, "args", ()) or (signal.SIGINT,))[0]
        threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, number)).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        SHOWN(unraisable)


def keep_programs(log: logging.Logger) -> None:
    """Has jax keep compiled programs in the cache, so that only the first start compiles; a warning where it cannot.

    By the environment, which jax reads when it is imported and which processes started from here inherit. A folder that
    JAX_COMPILATION_CACHE_DIR already names is used as it is.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    from srgan_jax.weights.fetch import cache_dir  # here, where main answers Ctrl-C: numpy takes its time

    try:
        folder = cache_dir() / "programs"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder}: not writable")
    except (OSError, UserError) as error:  # UserError: there is no home directory
        log.warning("warning: compiled programs are not kept for the next start (%s); set XDG_CACHE_HOME", error)
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # of a program that another process has just removed, to make room
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache entry")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if importlib.util.find_spec("filelock"):  # without that package jax has no limit, and keeps nothing if told of one
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(PROGRAMS))
        remove_halves(folder)


def remove_halves(folder: Path) -> None:
    """What a process left that was killed between the two files of a program: jax would keep nothing more over it."""
    import filelock

    try:
        with filelock.FileLock(folder / ".lockfile", timeout=10):  # jax's own
            for program in folder.glob("*-cache"):
                if not program.with_name(f"{program.name.removesuffix('-cache')}-atime").exists():
                    program.unlink()
    except OSError:  # held for long, or not ours to remove: programs may be compiled again
        pass


if __name__ == "__main__":
    sys.exit(main())
