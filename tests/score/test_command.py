"""`lottery score`, as it is typed."""

import io

import pytest
import torch
from torch.nn.utils import prune

from lotterylib import models
from lotterylib.cli import main
from tests.score.test_sources import folder


def test_the_command(tmp_path, capsys):
    folder(tmp_path / "images", {"a": 20, "b": 20}, size=(32, 32))
    network = models.build("lenet", 2, 3, size=32)
    torch.save(network.state_dict(), tmp_path / "dense.pt")
    prune.l1_unstructured(network.net[0], "weight", amount=0.5)
    torch.save(network.state_dict(), tmp_path / "pruned.pt")
    command = ["score", tmp_path / "pruned.pt", "--dense", tmp_path / "dense.pt", "--data", tmp_path / "images",
               "--only", "accuracy,ood_auroc", "--quiet", "--out", tmp_path / "out"]  # fmt: skip
    command = list(map(str, command))
    assert main(command) == 2
    assert "give arch" in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, "--arch", "lenet"]) == 0
    said = capsys.readouterr()
    assert "about " in said.err and "scorecard.html" in said.err and "Test accuracy" in said.out
    assert (tmp_path / "out" / "scorecard.html").stat().st_size > 5000
    assert main([*command, "--arch", "lenet", "--set", "width"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_the_command_has_help(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["score", "--help"])
    said = capsys.readouterr().out
    assert (
        exit.value.code == 0
        and "--mean" in said
        and "torchvision:resnet18" in said
        and "Nothing in it is executed" in said
    )


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Of two networks, measured on little."""
    monkeypatch.setattr("lotterylib.score.measure.speeds", lambda *_, **how: {})
    data = folder(tmp_path / "images", {"a": 20, "b": 20}, size=(32, 32)) or tmp_path / "images"
    for name, seed in (("pruned", 1), ("dense", 0)):
        torch.save(models.build("lenet", 2, 3, size=32, seed=seed).state_dict(), tmp_path / f"{name}.pt")
    paths = (tmp_path / "pruned.pt", "--dense", tmp_path / "dense.pt", "--data", data)
    return ["score", *map(str, paths), "--arch", "lenet", "--only", "accuracy", "--quiet", "--out"]


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "stream, status", [(Gone(), 0), (Full(), 1), (io.TextIOWrapper(io.BytesIO(), encoding="ascii"), 0)]
)
def test_the_report_is_written_whatever_the_terminal_does(command, tmp_path, monkeypatch, stream, status):
    monkeypatch.setattr("sys.stdout", stream)
    assert main([*command, str(tmp_path / "out")]) == status
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scorecard.html",
        "scorecard.json",
        "scorecard.md",
        "scorecard.xml",
    }
    if isinstance(stream, io.TextIOWrapper):
        assert b"Test accuracy ^" in stream.buffer.getvalue()


def test_a_report_that_cannot_be_written_is_printed(command, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("lotterylib.score.report.write_whole", full)
    assert main([*command, str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "Test accuracy" in said.out and "No space left on device" in said.err


def test_a_folder_in_a_reports_place_is_noticed_before_anything_is_measured(command, tmp_path, capsys):
    (tmp_path / "out" / "scorecard.html").mkdir(parents=True)
    assert main([*command, str(tmp_path / "out")]) == 2
    [said] = capsys.readouterr().err.strip().splitlines()
    assert "scorecard.html is a folder, where a file is to be written" in said


def test_an_out_that_is_a_file_is_noticed_before_anything_is_measured(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main([*command, str(out)]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and (
            "is a file: name a folder" in said[0] or "no folder that can be written to" in said[0]
        )


@pytest.mark.parametrize("cache, words", [("", "with --cache FOLDER the same command would go on"), ("--cache=kept", "the same command resumes"), ("cache: kept", "the same command resumes")])  # fmt: skip
def test_an_interrupt_says_whether_the_same_command_goes_on(tmp_path, monkeypatch, capsys, cache, words):
    def interrupted(*_, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr("lotterylib.cli.score.scorecard", interrupted)
    more = [cache] if cache.startswith("--") else []
    if cache and not more:
        (tmp_path / "score.yaml").write_text(cache)
        more = ["--config", str(tmp_path / "score.yaml")]
    assert main(["score", "p.pt", *more]) == 130
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("lottery score: interrupted; ") and words in line
