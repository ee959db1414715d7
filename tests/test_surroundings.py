"""A run is a guest in the process that it is called from: it changes nothing there, and nothing there changes it."""

import asyncio
import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from foreign_variables import FOREIGN, MINE
from landsift.config import ModelConfig, RunConfig
from landsift.errors import RunError
from landsift.runtime import surroundings


def draws():
    return random.random(), float(np.random.random()), float(torch.rand(1))  # noqa: NPY002 (the global one)


def seeded(seed=5):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (as above)
    torch.manual_seed(seed)


def test_the_callers_random_numbers_go_on_as_if_nothing_had_happened():
    seeded()
    undisturbed = [draws() for _ in range(3)]
    seeded()
    numbers = []
    for _ in range(3):
        numbers.append(draws())
        with surroundings.as_guest():
            seeded(0)
            draws()
    assert numbers == undisturbed


def test_names_that_libraries_draw_are_others_in_each_run():
    """The caller's generator is at the same place in every run of a seeded script."""
    drawn = []
    for _ in range(2):
        random.seed(0)
        with surroundings.as_guest():
            drawn.append(random.random())
    assert drawn[0] != drawn[1]


def test_what_a_run_changes_is_put_back_also_when_it_fails(monkeypatch):
    logger, handler = logging.getLogger("of.the.caller"), logging.StreamHandler()
    logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setenv("MINE", "1")

    def state():
        return (
            dict(os.environ),
            [*warnings.filters],
            (logger.level, logger.propagate, [*logger.handlers], logger.disabled),
            ([*logging.getLogger().handlers], handler.formatter, handler.level),
            {s: signal.getsignal(s) for s in signal.valid_signals()},
            (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()),
            (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
            (sys.stderr, sys.excepthook, threading.excepthook, [*sys.path]),
        )

    def fail():
        os.environ.pop("MINE")
        os.environ["PL_GLOBAL_SEED"] = "0"
        warnings.simplefilter("error")
        logger.setLevel(logging.CRITICAL)
        logger.propagate, logger.disabled = False, True
        logger.addHandler(logging.NullHandler())
        logging.getLogger().handlers.clear()
        handler.setFormatter(logging.Formatter("flyte %(message)s"))
        signal.signal(signal.SIGUSR2, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = True
        sys.excepthook = threading.excepthook = print
        sys.path.append("/nowhere")
        raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError), surroundings.as_guest():
        fail()
    assert state() == before
    logging.getLogger().removeHandler(handler)
    torch.set_num_threads(threads)


def test_other_launchers_variables_are_hidden_for_a_run_and_there_again_after_it(monkeypatch):
    for name, value in (FOREIGN | MINE).items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with surroundings.as_guest():
        assert not FOREIGN.keys() & os.environ.keys()
        assert {name: os.environ[name] for name in MINE} == MINE
    assert dict(os.environ) == before


def test_what_a_launcher_of_ranks_or_the_user_of_several_nodes_says_stays(monkeypatch):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    assert surroundings.in_rank()
    with surroundings.as_guest(surroundings.TORCHRUN):
        assert surroundings.in_rank()
        assert os.environ["MASTER_ADDR"] == "nowhere.invalid"
        assert "SLURM_PROCID" not in os.environ
    with surroundings.as_guest(surroundings.MEETING):
        assert not surroundings.in_rank()
        assert {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= os.environ.keys()
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # what a shell has left of torchrun is no rank
        with monkeypatch.context() as without:
            without.delenv(name)
            assert not surroundings.in_rank()


def test_processes_that_are_started_find_this_landsift_and_not_the_working_folder(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/mine", ""]))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = surroundings.environment_for(10**6)
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == [surroundings.__file__.rsplit("/", 3)[0], "/mine"]
    assert environment["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert surroundings.environment_for(10**6)["OMP_NUM_THREADS"] == "7"


def test_one_at_a_time_in_a_process_and_in_each_of_its_forks():
    with surroundings.alone("landsift run"):
        refused = []

        def second():
            try:
                with surroundings.alone("landsift run"):
                    pass
            except RunError as error:
                refused.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert "another landsift run is active in this process" in refused[0].message
        assert "a process of its own" in refused[0].hint
        pid = os.fork()
        if pid == 0:
            with surroundings.alone("landsift run"):
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    with surroundings.alone("landsift run"):
        pass


def test_the_callers_event_loop_stays():
    from landsift.pipeline.flyte.local import in_loop

    async def nothing() -> int:
        return 3

    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        assert in_loop(nothing()) == 3
        assert asyncio.get_event_loop() is mine
    finally:
        asyncio.set_event_loop(None)
        mine.close()


def test_a_training_computes_as_in_a_fresh_process_whatever_its_caller_has_set():
    from landsift.training.torch_state import as_meant

    before = np.geterr()
    with torch.inference_mode(), torch.autocast("cpu"), surroundings.as_guest():
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        np.seterr(all="raise")
        with as_meant():
            value = torch.ones(3, 3, requires_grad=True)
            product = value @ value
            assert (product.dtype, product.device.type) == (torch.float32, "cpu")
            product.sum().backward()
            assert value.grad is not None
            assert np.float32(1) / np.float32(0) == np.inf
    np.seterr(**before)
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device().type == "cpu"


def set_in_torchs_older_words():
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = False


def set_in_torchs_newer_words():
    torch.backends.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def set_otherwise():
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.enabled = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


PARTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def how_torch_computes():
    backends = torch.backends
    parts = [getattr(getattr(backends, one), two).fp32_precision for one, two in (part.split(".") for part in PARTS)]
    flags = [backends.cudnn.enabled, backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()]
    return [backends.fp32_precision, *parts, *flags, backends.cuda.matmul.allow_bf16_reduced_precision_reduction]


@pytest.mark.parametrize("change", [set_in_torchs_older_words, set_in_torchs_newer_words, set_otherwise])
def test_how_torch_computes_is_settled_for_a_training_and_put_back(change):
    """TF32 gave other numbers under the same key; torch refuses to be asked in older words what newer ones have set."""
    from landsift.training.torch_state import as_meant, stated

    with surroundings.as_guest():
        with surroundings.as_guest(), as_meant():
            meant = how_torch_computes()
        change()
        theirs = how_torch_computes()
        assert theirs != meant
        with surroundings.as_guest(), as_meant():
            assert how_torch_computes() == meant
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
            said = stated()
        assert how_torch_computes() == theirs
    assert said == {
        "default_dtype": "float32",
        "float32_matmul": "ieee",
        "float32_convolution": "tf32",
        "deterministic_algorithms": False,
        "variables": {},
    }


def test_what_libraries_read_once_is_known(monkeypatch):
    from landsift.pipeline.cache.keys import training_key
    from landsift.training.torch_state import READ_ONCE, read_once

    for name in READ_ONCE:
        monkeypatch.delenv(name, raising=False)
    config = RunConfig(model=ModelConfig(weights="none", backbone="test_efficientnet"))
    before = training_key(config, "a store")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert read_once() == {"NVIDIA_TF32_OVERRIDE": "1"}
    assert training_key(config, "a store") != before
