"""Contenders in processes of their own, where neither's memory and threads are in the other's way."""

import multiprocessing
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

from benchmarks.side_by_side import Contender, start

Make = Callable[[], dict[str, Contender]]


@contextmanager
def apart(makes: Sequence[Make], args: Namespace) -> Iterator[dict[str, Contender]]:
    """The contenders that each of `makes` makes in a new process: they can be run from here, but not at once.

    What goes wrong in there is a RuntimeError here. The processes end with the block.
    """
    context = multiprocessing.get_context("spawn")  # a fork would have the threads' locks without the threads
    found: dict[str, Contender] = {}
    processes, pipes = [], []
    try:
        for make in makes:
            pipe, other = context.Pipe()
            process = context.Process(target=_serve, args=(other, make, args), daemon=True)
            process.start()
            other.close()
            processes.append(process)
            pipes.append(pipe)
            found |= {name: Contender(partial(_run, pipe, name), pieces) for name, pieces in _answer(pipe)}
        yield found
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()


def _run(pipe: Connection, name: str, times: int) -> None:
    pipe.send((name, times))
    _answer(pipe)


def _answer(pipe: Connection) -> list[tuple[str, int]]:
    try:
        answer = pipe.recv()
    except EOFError:
        raise RuntimeError("a contender's process ended") from None
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _serve(pipe: Connection, make: Make, args: Namespace) -> None:
    """In the new process: first the contenders' names and pieces, then a sign after each run that is asked for."""

    def answer(work: Callable[[], list[tuple[str, int]]]) -> None:
        try:
            pipe.send(work())
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")

    def ready() -> list[tuple[str, int]]:
        start(args)
        found.update(make())
        return [(name, contender.pieces) for name, contender in found.items()]

    def run(name: str, times: int) -> list[tuple[str, int]]:
        found[name].run(times)
        return []

    found: dict[str, Contender] = {}
    answer(ready)
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        answer(partial(run, *asked))
