"""What a run finds around itself: another program's state, which it leaves as it was, and other launchers' variables.

A run seeds the global generators, quiets libraries and starts processes, all of it in a process that may be somebody
else's script or notebook. And a batch system, an MPI launcher or a W&B agent leaves variables from which libraries
conclude that this process is one of several, or that its W&B run is another one. What is meant for landsift stands in
its configuration.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from landsift.errors import RunError
from landsift.runtime import threads
from landsift.runtime.notices import steady

TORCHRUN = re.compile(
    r"RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|(GROUP|ROLE)_(RANK|WORLD_SIZE|NAME)|MASTER_(ADDR|PORT)|TORCHELASTIC_.*"
)
"""What torch's launcher tells each of its processes."""
MEETING = re.compile(r"MASTER_(ADDR|PORT)|NODE_RANK")
"""What the user tells each node of a training on several."""
_LAUNCHERS = re.compile(
    r"(SLURM|PMI\d?|PMIX|OMPI|MV2|LSB|LSF|JSM|HOROVOD|TORCH_ELASTIC|TORCHCOMM|PET|PL|LT|KUBERNETES)_.*"
    r"|NODE_RANK|NNODES|STANDALONE_PORT|LOGLEVEL"
)
"""What else Lightning, torch's launcher and W&B take for what this process is.

PL_TRAINER_MAX_STEPS and its like are defaults of Lightning's trainer, LOGLEVEL=debug ends torch's launcher, and of the
Kubernetes that these variables name W&B asks for the container's image.
"""
_ONE_WANDB_RUN = re.compile(
    r"WANDB_(RUN_.*|RESUME.*|FORK_FROM|SWEEP_.*|NAME|CONFIG|CONFIG_PATHS|SERVICE|MODE|DISABLED|LAUNCH.*|X_.*)"
)
"""What makes of all W&B runs of a process the same one, or others than the configuration asks for."""

_turn = threading.Lock()
_at_work: dict[str, int] = {}
"""What is being done in this process, and the process's number, because a forked one does not go on with it."""


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Do something that changes the whole process, and that can be done once at a time in it.

    Args:
        what: such as "landsift run".

    Raises:
        RunError: another thread of this process is doing it.
    """
    with _turn:
        if _at_work.get(what) == os.getpid():
            hint = "wait until it has ended, or start this one in a process of its own"
            raise RunError(f"another {what} is active in this process", hint)
        _at_work[what] = os.getpid()
    try:
        yield
    finally:
        with _turn:
            _at_work.pop(what, None)


@contextlib.contextmanager
def as_guest(meant: re.Pattern[str] | None = None, also: re.Pattern[str] | None = None) -> Iterator[None]:
    """Work in a process that may be somebody else's, and leave it as it was.

    What is put back: the global generators of Python, NumPy and torch, warnings filters, loggers, environment
    variables, signal handlers, torch's threads and flags, `sys.path`, `sys.stderr` and the hooks for exceptions. In
    the meantime other launchers' variables are hidden, processes that are started do not import from the working
    folder, standard error may fail without a consequence, and Python's generator, which libraries draw names from,
    starts anew.

    Args:
        meant: other launchers' variables that are meant for landsift, by their names.
        also: further variables to hide.
    """
    threads.after_fork()
    with contextlib.ExitStack() as stack:
        for kept in (_environment, _generators, _torch_flags, _loggers, _signals, _interpreter):
            stack.enter_context(kept())
        stack.enter_context(warnings.catch_warnings())
        hidden = {*launchers_variables(os.environ), *wandb_variables(os.environ)}
        hidden |= {name for name in os.environ if also and also.fullmatch(name)}
        for name in hidden:
            if meant is None or not meant.fullmatch(name):
                del os.environ[name]
        os.environ["PYTHONSAFEPATH"] = "1"
        random.seed()
        sys.stderr = steady(sys.stderr)
        yield


def launchers_variables(environment: Mapping[str, str]) -> list[str]:
    """The names among an environment's that say what another launcher means this process to be."""
    return sorted(name for name in environment if TORCHRUN.fullmatch(name) or _LAUNCHERS.fullmatch(name))


def wandb_variables(environment: Mapping[str, str]) -> list[str]:
    """The names among an environment's that say which W&B run a run is."""
    return sorted(name for name in environment if _ONE_WANDB_RUN.fullmatch(name))


def in_rank() -> bool:
    """Whether a launcher (landsift's own, torchrun, or Flyte's Elastic) started this process as one of several."""
    return {"TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()


def environment_for(processes: int) -> dict[str, str]:
    """The environment of each of several Python processes that landsift starts side by side.

    They find this landsift and nothing of the working folder, and share the cores.

    Args:
        processes: how many.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(Path(__file__).parents[2]), *filter(None, entries)]  # an empty entry is the working folder
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", threads.THREADS: threads.share(processes)}
    return dict(os.environ) | own


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextlib.contextmanager
def _generators() -> Iterator[None]:
    """Of a library that was not loaded before, the generator starts anew, as it does when it is loaded."""
    python = random.getstate()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    of_numpy = numpy and numpy.random.get_state()
    of_torch = torch and torch.get_rng_state()
    of_gpus = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed() if of_numpy is None else numpy.random.set_state(of_numpy)
        if torch := sys.modules.get("torch"):
            torch.seed() if of_torch is None else torch.set_rng_state(of_torch)
            if of_gpus is not None:
                torch.cuda.set_rng_state_all(of_gpus)
            elif torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(torch.initial_seed())


@contextlib.contextmanager
def _torch_flags() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    backends: Any = torch.backends
    matmul, cudnn, mkldnn = backends.cuda.matmul, backends.cudnn, backends.mkldnn
    ways: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, torch.set_default_device),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        # In torch's older words, then in its newer ones; where a caller has mixed them, the older ones cannot be asked.
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        _attribute(cudnn, "allow_tf32"),
        *(
            _attribute(part, "fp32_precision")
            for part in (backends, matmul, cudnn, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
        ),
        _attribute(matmul, "allow_fp16_reduced_precision_reduction"),
        _attribute(matmul, "allow_bf16_reduced_precision_reduction"),
        *(_attribute(cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
        _attribute(mkldnn, "enabled"),
    ]
    before = [(get, put, _asked(get)) for get, put in ways]
    try:
        yield
    finally:
        for get, put, value in before:
            if value is not None and _asked(get) != value:
                put(value)


def _attribute(place: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return lambda: getattr(place, name), lambda value: setattr(place, name, value)


def _asked(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except RuntimeError:
        return None


@contextlib.contextmanager
def _loggers() -> Iterator[None]:
    known = [
        logging.getLogger(),
        *(v for v in logging.root.manager.loggerDict.values() if isinstance(v, logging.Logger)),
    ]
    before = [(one, one.level, one.propagate, one.disabled, [*one.handlers], [*one.filters]) for one in known]
    handlers = {handler: (handler.level, handler.formatter) for one in known for handler in one.handlers}
    disabled = logging.root.manager.disable
    try:
        yield
    finally:
        logging.disable(disabled)
        for one, level, propagate, off, its_handlers, its_filters in before:
            one.setLevel(level)
            one.propagate, one.disabled = propagate, off
            one.handlers[:], one.filters[:] = its_handlers, its_filters
        for handler, (level, formatter) in handlers.items():
            handler.setLevel(level)
            handler.setFormatter(formatter)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            now = signal.getsignal(number)
            # None is a handler that is not Python's. What is ignored by now is so because the process is ending.
            if now is not handler and handler is not None and now is not signal.SIG_IGN:
                signal.signal(number, handler)


@contextlib.contextmanager
def _interpreter() -> Iterator[None]:
    path, stderr = [*sys.path], sys.stderr
    hooks: list[tuple[Any, str, Callable[..., Any]]] = [
        (sys, "excepthook", sys.excepthook),
        (sys, "unraisablehook", sys.unraisablehook),
        (threading, "excepthook", threading.excepthook),
    ]
    try:
        yield
    finally:
        sys.path[:] = path
        sys.stderr = stderr
        for module, name, hook in hooks:
            setattr(module, name, hook)
