"""What other schedulers would be told, without any of them."""

import contextlib
import os
import re
import shlex
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
import torch
from distributed import Scheduler, SpecCluster, Status, get_worker
from distributed import Worker as DaskWorker

from lotterylib.errors import SettingError
from lotterylib.machine.devices import places
from lotterylib.study import Store, scheduler
from lotterylib.study.lookup import missing
from lotterylib.study.scheduler import How, run
from lotterylib.study.work import Worker
from tests.study.helpers import assert_same_study, tiny


def test_a_slurm_job_starts_one_worker_with_one_thread_and_one_gpu():
    jobs = pytest.importorskip("dask_jobqueue.slurm")
    script = jobs.SLURMJob(
        scheduler="tcp://127.0.0.1:8786", name="lottery", cores=1, job_cpu=4, processes=1, memory="32GB",
        walltime="08:00:00", queue="gpu", job_extra_directives=["--gpus=1"],
    ).job_script()  # fmt: skip
    lines = script.splitlines()
    for directive in ("-p gpu", "--cpus-per-task=4", "-t 08:00:00", "--gpus=1"):
        assert f"#SBATCH {directive}" in lines
    assert "tcp://127.0.0.1:8786" in lines[-1] and "--nthreads 1 " in lines[-1]


def test_workers_of_dask_cuda_are_started_by_options_that_it_has():
    """The command that book/scale.md shows; running it takes a GPU."""
    cli = pytest.importorskip("dask_cuda.cli")
    text = (Path(__file__).parents[2] / "book/scale.md").read_text()
    [shown] = re.findall(r"^dask cuda worker (.*) &$", text, re.MULTILINE)
    context = cli.worker.make_context("worker", shlex.split(shown), resilient_parsing=True)
    assert context.params["scheduler"] == "tls://127.0.0.1:8786"
    assert (context.params["nthreads"], context.params["resources"]) == (1, "GPU=0.25")


def test_local_workers_take_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert places(None, 1, None) == ["cuda:0", "cuda:1"]
    assert places(None, 4, "cuda", per_gpu=2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert places(3, 1, "auto") == ["cuda:0", "cuda:1", "cuda:0"]
    assert places(None, 1, "cuda:1", per_gpu=3) == ["cuda:1"] * 3
    assert places(None, 2, "cpu") == ["cpu"] * max(1, os.cpu_count() // 2)


def test_workers_that_take_their_time_to_say_goodbye_do_not_hold_up_pythons_end(monkeypatch):
    cluster = SimpleNamespace(status=Status.closing, shutdown_on_close=True, _created=[])
    cluster.scale = cluster.sync = cluster.close = lambda *_, **__: None
    monkeypatch.setattr(scheduler, "LocalCluster", lambda **_: cluster)
    monkeypatch.setattr(scheduler, "Client", lambda _: cluster)
    with scheduler._client(None, 1, {}, {}):
        assert cluster.shutdown_on_close
    assert not cluster.shutdown_on_close


def test_cells_that_train_on_several_gpus_have_them_to_themselves(monkeypatch):
    """What a worker is given is the first of its devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 7)
    assert places(None, 1, None, processes=2) == ["cuda:0", "cuda:2", "cuda:4"]
    assert places(2, 1, None, processes=3) == ["cuda:0", "cuda:3"]
    assert places(None, 1, "cuda:3", processes=4) == ["cuda:3"]
    assert places(None, 1, "cpu", processes=10**6) == ["cpu"]
    with pytest.raises(SettingError, match="4 processes need a GPU each, there are 3 from cuda:4 on"):
        places(None, 1, "cuda:4", processes=4)
    with pytest.raises(SettingError, match="2 cells share a GPU or each trains on 4, not both"):
        places(None, 1, None, 2, processes=4)


class Began(Exception):
    pass


@pytest.fixture
def one_gpu(monkeypatch, tmp_path):
    """A machine that says it has a GPU, and starts no worker."""

    def cluster(**settings):
        raise Began(dask.config.get("distributed.nanny.pre-spawn-environ"))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(scheduler, "LocalCluster", cluster)
    return missing(tiny(pruners=["random"], rounds=[1]), Store(tmp_path / "s"))


@pytest.mark.parametrize(
    "how, shared", [(How(per_gpu=4), True), (How(), False), (How(device="cpu", per_gpu=4), False)]
)
def test_cells_that_share_a_gpu_do_so_by_mps(one_gpu, tmp_path, monkeypatch, how, shared):
    steps = []

    @contextlib.contextmanager
    def mps():
        steps.append("began")
        yield {"CUDA_MPS_PIPE_DIRECTORY": "there"}
        steps.append("not reached")

    monkeypatch.setattr(scheduler, "mps", mps)
    with pytest.raises(Began) as began:
        run(one_gpu, Store(tmp_path / "s"), how, progress=False)
    environment = began.value.args[0]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment.get("CUDA_MPS_PIPE_DIRECTORY") == ("there" if shared else None)
    assert steps == ["began"] * shared


def test_without_mps_one_line_says_that_cells_take_turns(one_gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    with pytest.raises(Began):
        run(one_gpu, Store(tmp_path / "s"), How(per_gpu=2), progress=False)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no nvidia-cuda-mps-control here" in said and "take turns" in said


def test_what_trained_on_several_gpus_is_measured_on_one_each(tmp_path, monkeypatch):
    """First all trainings, four workers with two GPUs each; then eight workers measure what was trained."""
    profile, store, parts = tiny(pruners=["random", "lottery"], rounds=[1]), Store(tmp_path / "s"), []

    def part(todo, store, how, *rest):
        parts.append((how, {cell.pruner: list(wanted) for cell, wanted in todo}))
        failed = {"lottery": "diverged"} if how.processes > 1 else {"random": "no room"}
        return scheduler.Summary(Counter(found=len(parts)), failed)

    monkeypatch.setattr(scheduler, "_run", part)
    monkeypatch.setattr(Store, "has_ticket", lambda self, cell: cell.pruner != "lottery")
    todo = [(cell, {"accuracy": {}}) for cell, _ in missing(profile, store)]
    summary = run(todo, store, How(processes=2, workers=4))
    (first, trained), (second, measured) = parts
    assert (first.processes, first.workers, second.processes, second.workers) == (2, 4, 1, 8)
    assert trained == {"dense": [], "random": [], "lottery": []}
    assert measured == {"dense": ["accuracy"], "random": ["accuracy"]}
    assert summary.counts == {"found": 3} and summary.failures == {"lottery": "diverged", "random": "no room"}
    run(todo, store, How(processes=2, scheduler="tls://elsewhere"))
    assert len(parts) == 3


def test_trainings_are_launched_as_asked(monkeypatch):
    launch = How(device="cpu", cuda_graphs=True, views_on_device="dali").launch(("cpu",))
    assert launch.cuda_graphs and launch.views_on_device == "dali"
    assert not How(scheduler="tcp://elsewhere").launch((None,)).cuda_graphs
    with pytest.raises(SettingError, match="trainings of one process"):
        How(device="cpu", cuda_graphs=True, processes=2).launch(("cpu",))


def test_cells_go_where_their_share_of_a_gpu_is_offered(tmp_path):
    """A scheduler with two workers, one of which offers half of a "GPU", on two threads: the cells all go there, one at a
    time, and give what they give elsewhere."""
    profile = tiny(pruners=["random"], rounds=[1])
    store, plain = (Store(tmp_path / name).open_for_writing() for name in "ab")
    offers = {"resources": {"GPU": 0.5}, "nthreads": 2, "name": "half"}
    with dask.config.set({"distributed.worker.memory.terminate": False}):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}},
            workers={
                "half": {"cls": DaskWorker, "options": offers | {"host": "127.0.0.1", "dashboard": False}},
                "none": {
                    "cls": DaskWorker,
                    "options": {"nthreads": 1, "host": "127.0.0.1", "dashboard": False},
                },
            },
            silence_logs=50,
        )

    class Signing(Worker):
        def find(self, cell):
            (tmp_path / f"{cell.id} was found by {get_worker().name}").touch()
            return super().find(cell)

    with cluster:
        how = How(cluster.scheduler_address, device="cpu", per_gpu=2)
        summary = run(missing(profile, store), store, how, progress=False, worker=Signing)
    assert summary.failures == {} and summary.counts == {"found": 4}
    assert {path.name.split()[-1] for path in tmp_path.glob("* was found by *")} == {"half"}
    for cell, wanted in missing(profile, plain):
        Worker(plain, 1, "cpu").find(cell)
        Worker(plain, 1, "cpu").measure(cell, wanted)
    assert_same_study(profile, store.root, plain.root)


def test_kubernetes_is_asked_for_workers_of_one_thread_each_with_a_gpu():
    """The call that book/scale.md shows."""
    make_cluster_spec = pytest.importorskip("dask_kubernetes.operator").make_cluster_spec
    text = (Path(__file__).parents[2] / "book/scale.md").read_text()
    [shown] = [part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "KubeCluster(" in part]
    scope = {"make_cluster_spec": make_cluster_spec}
    exec("spec = " + shown.partition("spec = ")[2].partition("cluster = ")[0], scope)
    parts = scope["spec"]["spec"]
    [worker], [scheduler] = (parts[name]["spec"]["containers"] for name in ("worker", "scheduler"))
    assert parts["worker"]["replicas"] == 8 and worker["args"][:4] == ["dask", "worker", "--nthreads", "1"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1" and not scheduler["resources"]
