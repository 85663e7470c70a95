"""Profiles that a reader and YAML would read differently."""

import copy
import os

import pytest
import yaml

from lotterylib.cli.score_config import from_config
from lotterylib.errors import SettingError
from lotterylib.study import load_profile, profile_names
from lotterylib.study.strict import read_yaml
from tests.study.helpers import TINY

TEXT = yaml.safe_dump(TINY, sort_keys=False)


def refused(folder, text: str) -> str:
    """The message, one short line that names the file."""
    file = folder / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SettingError) as caught:
        load_profile(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and "\n" not in message and len(message) < 400
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("seeds:\n- 0\n", "seeds: [010]\n", "seeds.0: YAML reads 010 as 8; write 8 if that is meant"),
        ("seeds:\n- 0\n", "seeds: [0x10]\n", "seeds.0: YAML reads 0x10 as 16"),
        ("seeds:\n- 0\n", "seeds: [1:30]\n", "seeds.0: YAML reads 1:30 as 90"),
        ("seeds:\n- 0\n", "seeds: [true]\n", "seeds.0: Input should be a valid integer, got True"),
        ("seeds:\n- 0\n", "seeds: [1.0]\n", "seeds.0: Input should be a valid integer, got 1.0"),
        ("seeds:\n- 0\n", "seeds: ['1']\n", "seeds.0: Input should be a valid integer, got '1'"),
        ("seeds:\n- 0\n", "seeds: [1e1]\n", "seeds.0: YAML reads 1e1 as text; write 1.0e+1"),
        ("  epochs: 1\n", "  epochs: true\n", "recipe.epochs: want a number, not true or false, got True"),
        ("  epochs: 1\n", "  epochs: 1\n  lr: 1e-3\n", "recipe.lr: YAML reads 1e-3 as text; write 1.0e-3"),
        ("  epochs: 1\n", "  epochs: 1\n  lr: 8/255\n", "recipe.lr: YAML reads 8/255 as text; write 0.0313725"),
        ("  epochs: 1\n", "  epochs: 1\n  lr: 1/0\n", "recipe.lr: YAML reads 1/0 as text; write a number"),
        ("  epochs: 1\n", "  epochs: 1\n  lr: '0.1'\n", "recipe.lr: want a number, not text: write 0.1 without quotes, got '0.1'"),
        ("  epochs: 1\n", "  epochs: 1\n  lr: .inf\n", "recipe.lr: want a finite number, got inf"),
        ("  epochs: 1\n", "  epochs: 1\n  flip: 1\n", "recipe.flip: want true or false, got 1"),
        ("  width: 0.5\n", "  width: .inf\n", "models.0.width: want a finite number, got inf"),
        ("  width: 0.5\n", "  width: .nan\n", "models.0.width: want a finite number"),
        ("  width: 0.5\n", "  width: yes\n", "models.0.width: want a number of type float, got True"),
        ("  limit: 60\n", "  limit: 6e1\n", "dataset.limit: YAML reads 6e1 as text; write 6.0e+1"),
        ("  limit: 20\n", "  limit: true\n", "live.limit: want a number of type int, got True"),
        ("- random\n- magnitude\n- lottery\n", "  lottery: {rate: '0.5'}\n", "pruners.lottery.rate: want a number"),
        ("- accuracy\n", "  accuracy:\n  fgsm_accuracy: {images: 1e2}\n", "metrics.fgsm_accuracy.images: YAML reads"),
    ],
)  # fmt: skip
def test_values_that_are_not_what_they_seem(tmp_path, old, new, says):
    assert old in TEXT
    assert says in refused(tmp_path, TEXT.replace(old, new, 1))


SURPRISES = {
    "1_0": "YAML reads 1_0 as 10; write 10 if that is meant",
    "1_": "YAML reads 1_ as 1; write 1 if that is meant",
    "1_00_000": "YAML reads 1_00_000 as 100000; write 100000 if that is meant",
    "0b11": "YAML reads 0b11 as 3; write 3 if that is meant",
    "0o10": "YAML reads 0o10 as text; write 8",
    "08": "YAML reads 08 as text; write 8",
    "-1:30": "YAML reads -1:30 as -90; write -90 if that is meant",
    "1:30.5": "YAML reads 1:30.5 as 90.5; write 90.5 if that is meant",
    "1_0.5": "YAML reads 1_0.5 as 10.5; write 10.5 if that is meant",
    ".5e1": "YAML reads .5e1 as text; write .5e+1",
    "-.5": "YAML reads -.5 as text; write -0.5",
    "1e400": "want a finite number, got 1e400",
    "4/255": "YAML reads 4/255 as text; write 0.0156863",
    "2026-01-02": "YAML reads 2026-01-02 as a date; write '2026-01-02'",
}


@pytest.mark.parametrize("text, says", SURPRISES.items())
def test_numbers_that_yaml_reads_in_its_own_way(tmp_path, text, says):
    """In one line that ends with what to write; the same in a profile and in the options of ``lottery score``."""
    for read in (read_yaml, from_config):
        (tmp_path / "mine.yaml").write_text(f"tolerance:\n  nll: {text}\n")
        with pytest.raises(SettingError) as caught:
            read(tmp_path / "mine.yaml")
        assert str(caught.value) == f"{tmp_path / 'mine.yaml'}: line 2: tolerance.nll: {says}"
    (tmp_path / "mine.yaml").write_text(f"tolerance: '{text}'\n")
    assert read_yaml(tmp_path / "mine.yaml") == {"tolerance": text}


@pytest.mark.parametrize("key", ["seeds", "recipe", "pruners", "live"])
def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path, key):
    part = yaml.safe_dump({key: TINY[key]})
    lines = TEXT.splitlines()
    first, second = lines.index(f"{key}:") + 1, len(lines) + 1
    message = refused(tmp_path, TEXT + part)
    assert message == f"line {second}: {key} stands here a second time, after line {first}"


def test_a_key_that_stands_twice_deep_down_or_in_a_base(tmp_path):
    text = TEXT.replace("- random\n", "").replace("- magnitude\n- lottery\n", "  snip: {}\n  snip: {}\n")
    assert "pruners.snip stands here a second time" in refused(tmp_path, text)
    base = tmp_path / "base.yaml"
    base.write_text(TEXT + "seeds: [3]\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(SettingError, match=r"base\.yaml: line \d+: seeds stands here a second time"):
        load_profile(tmp_path / "mine.yaml")


def bomb(levels: int, wide: int = 9) -> str:
    lines = ["x0: &x0 [lol]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * wide)}]" for i in range(1, levels)]
    return "\n".join(lines)


# what grows without end takes for ever, not a little longer
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text, says",
    [
        (bomb(9), "aliases stand for more than 10,000 values"),
        (bomb(40), "aliases stand for more than 10,000 values"),
        ("pruners: &a [*a]", "stand"),
        ("pruners: &a {b: *a}", "stand"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("title: " + "x" * 2_000_000, "more than 1,000,000 characters"),
        ("name: " + "x" * 900_000, "name: "),
        ("a: !!python/object/apply:os.system [ls]", "no YAML"),
        ("? [a, b]\n: 1", "no YAML"),
        ("a: 1\n---\nb: 2", "no YAML"),
        ("seeds: [" + "9" * 5000 + "]", "no YAML"),
    ],
)
def test_files_that_would_grow_without_end_are_one_line_at_once(tmp_path, text, says):
    assert says in refused(tmp_path, text)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(SettingError, match="cannot be read"):
        load_profile(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "name", ["../victim", "/abs/folder", "..", ".hidden", "a/b", "a\\b", "", "a b", "a\nb", "x" * 61]
)
def test_a_name_that_is_no_harmless_part_of_a_path(tmp_path, name):
    content = copy.deepcopy(TINY) | {"name": name}
    message = refused(tmp_path, yaml.safe_dump(content))
    assert message.startswith("name: ") and "want at most 60 letters, digits" in message


@pytest.mark.parametrize("name", ["tiny-2_b.c", "größe", "x" * 60, "7"])
def test_names_that_are(tmp_path, name):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(copy.deepcopy(TINY) | {"name": name}))
    assert load_profile(file).name == name


def test_aliases_merge_keys_and_plain_numbers_go_on(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "a: &a {x: 1, y: 1_000}\nb: {<<: *a, x: 2.0e-3}\nc: *a\nd: [-3, +4, 0, 1.5e+3, text, 'two', 1e]\n"
    )
    found = read_yaml(file)
    assert found["b"] == {"x": 0.002, "y": 1000} and found["c"] == found["a"]
    assert found["d"] == [-3, 4, 0, 1500.0, "text", "two", "1e"]


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profiles_are_taken_literally(name):
    assert load_profile(load_profile(name)).name == name
