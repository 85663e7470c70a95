"""What other schedulers would be told, without any of them."""

import pytest


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
