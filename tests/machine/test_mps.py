"""NVIDIA's daemon is a script here, which notes what it is told; so is the process that tries the GPU."""

import os
import sys

import pytest

from lotterylib.errors import SettingError
from lotterylib.machine import mps as module
from lotterylib.machine.mps import mps


def script(path, lines):
    path.write_text("#!/bin/sh\n" + lines)
    path.chmod(0o755)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The file where the daemon notes each call: argument, standard input, folder."""
    notes = tmp_path / "notes"
    note = f'echo "$1 $(cat) $CUDA_MPS_PIPE_DIRECTORY $CUDA_MPS_LOG_DIRECTORY" >> {notes}\n'
    script(tmp_path / "nvidia-cuda-mps-control", note)
    script(tmp_path / "python", f'echo "trial - $CUDA_MPS_PIPE_DIRECTORY" >> {notes}\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(module, "USUAL", tmp_path / "usual")
    return notes


def test_a_daemon_lives_as_long_as_the_block(told, tmp_path):
    with pytest.raises(KeyboardInterrupt), mps() as environment:
        folder = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert environment == {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        assert os.path.isdir(folder) and os.stat(folder).st_mode & 0o077 == 0
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
        raise KeyboardInterrupt
    assert not os.path.exists(folder)
    assert told.read_text().splitlines() == [
        f"-d  {folder} {folder}", f"trial - {folder}", f" quit {folder} {folder}",
    ]  # fmt: skip


def test_a_daemon_that_serves_nobody_is_ended_and_the_reason_given(told, tmp_path):
    script(tmp_path / "python", "echo Traceback >&2; echo 'CUDA error: all devices are busy' >&2; exit 1\n")
    with pytest.raises(SettingError, match=r"^no MPS \(CUDA error: all devices are busy\)$"), mps():
        pass
    assert [line.split()[0] for line in told.read_text().splitlines()] == ["-d", "quit"]


def test_without_a_daemon_the_reason_says_so(told, tmp_path, monkeypatch):
    script(tmp_path / "nvidia-cuda-mps-control", "echo 'no GPU found'; exit 1\n")
    with pytest.raises(SettingError, match=r"no MPS \(no GPU found\)"), mps():
        pass
    monkeypatch.setenv("PATH", str(tmp_path / "usual"))
    with pytest.raises(SettingError, match="there is no nvidia-cuda-mps-control here"), mps():
        pass
    assert not told.exists()


def test_one_that_runs_already_is_left_alone(told, tmp_path, monkeypatch):
    usual = tmp_path / "usual"
    usual.mkdir()
    (usual / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    with mps() as environment:
        assert environment == {}
    (usual / "nvidia-cuda-mps-control.pid").write_text("nobody")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "elsewhere")
    with mps() as environment:
        assert environment == {}
    assert not told.exists()
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY")
    with mps() as environment:
        assert environment
