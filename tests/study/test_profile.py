import copy

import pytest
import yaml

from lotterylib.errors import LotteryError, SettingError, UnknownNameError
from lotterylib.study import load_profile, profile_names
from tests.study.helpers import TINY


def changed(path: tuple, value) -> dict:
    content = copy.deepcopy(TINY)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


def refused(folder, content) -> str:
    """The message, which must be one line that names the file."""
    file = folder / "mine.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(SettingError) as caught:
        load_profile(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profiles_load(name):
    profile = load_profile(name)
    assert profile.name == name and profile.title


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("seedz",), [1], ["unknown key 'seedz'"]),
        (("dataset", "limits"), 3, ["unknown key 'dataset.limits'"]),
        (("recipe", "epoch"), 3, ["unknown key 'recipe.epoch'"]),
        (("models", 0, "widht"), 3, ["unknown key 'models.0.widht'"]),
        (("recipe", "epochs"), 0, ["recipe.epochs", "greater than or equal to 1", "got 0"]),
        (("recipe", "rewind"), 3, ["recipe", "rewind is at epoch 3, after the last epoch 1"]),
        (("rounds",), [0], ["rounds.0", "greater than or equal to 1", "got 0"]),
        (("rounds",), [2, 2], ["rounds repeats a value: [2, 2]"]),
        (("rounds",), [], ["either rounds", "or sparsities"]),
        (("sparsities",), [0.5], ["either rounds", "or sparsities"]),
        (("seeds",), [1, 1], ["seeds repeats a value"]),
        (("seeds",), [-1], ["seeds.0", "greater than or equal to 0"]),
        (("seeds",), [], ["seeds", "at least 1 item"]),
        (("dataset", "name"), "fashion-mist", ["dataset.name", "did you mean 'fashion-mnist'?"]),
        (("models", 0, "name"), "resnet", ["models.0.name", "did you mean 'resnet8'?"]),
        (("models", 0, "settings"), {"seed": 3}, ["models.0.settings", "seed"]),
        (("models",), [{"name": "lenet"}, {"name": "lenet", "width": 2}], ["models repeats a name"]),
        (("models",), [], ["models", "at least 1 item"]),
        (("pruners",), ["lotery"], ["pruners", "did you mean 'lottery'?"]),
        (("pruners",), {"lottery": {"rates": 0.2}}, ["pruner lottery", "unknown key 'rates'"]),
        (("pruners",), {"lottery": {"rate": 2}}, ["pruner lottery", "rate", "less than 1", "got 2"]),
        (("metrics",), ["accuracy", "acuracy"], ["metrics", "did you mean 'accuracy'?"]),
        (("metrics",), {"accuracy": {"topk": 5}}, ["metrics", "accuracy", "topk"]),
        (("metrics",), [], ["metrics", "accuracy is missing"]),
        (("live",), None, ["live"]),
        ((3,), 4, ["3: Keys should be strings"]),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_one_line_with_file_key_and_remedy(tmp_path, path, value, words):
    message = refused(tmp_path, changed(path, value))
    assert [w for w in words if w not in message] == [], message


@pytest.mark.parametrize("sparsity", [1.3, 1, 0, -0.1, float("nan"), "half"])
def test_sparsities_are_fractions(tmp_path, sparsity):
    content = changed(("sparsities",), [0.5, sparsity])
    del content["rounds"]
    message = refused(tmp_path, content)
    assert "sparsities.1" in message and f"got {sparsity!r}" in message


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "want keys and values"),
        ("- a\n- b\n", "got list"),
        ("a: [1, 2\nb: }", "no YAML"),
        ("just words", "got str"),
    ],
)
def test_files_that_are_no_profile(tmp_path, text, words):
    assert words in refused(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"name: \xff\xfe\x00")
    with pytest.raises(SettingError, match="no YAML"):
        load_profile(file)


def test_a_missing_file_and_an_unknown_name(tmp_path):
    with pytest.raises(SettingError, match=r"none\.yaml: cannot be read"):
        load_profile(tmp_path / "none.yaml")
    with pytest.raises(SettingError, match="cannot be read"):
        (tmp_path / "folder.yaml").mkdir()
        load_profile(tmp_path / "folder.yaml")
    with pytest.raises(UnknownNameError, match="did you mean 'laptop'"):
        load_profile("labtop")
    with pytest.raises(LotteryError, match="unknown profile"):
        load_profile("../profiles/laptop")


def test_a_missing_key_is_named(tmp_path):
    content = copy.deepcopy(TINY)
    del content["dataset"]
    assert "dataset: Field required" in refused(tmp_path, content)


def test_null_settings_mean_defaults_and_the_name_is_the_files(tmp_path):
    content = changed(("pruners",), {"random": None, "lottery": None}) | {"metrics": {"accuracy": None}}
    del content["name"]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    profile = load_profile(file)
    assert profile.pruners == {"random": {}, "lottery": {}}
    assert profile.metrics == {"accuracy": {}}
    assert profile.name == "mine"


def test_rounds_are_sparsities_in_rising_order():
    from lotterylib.study import Profile

    assert Profile(**(TINY | {"rounds": [3, 1]})).levels == pytest.approx([0.2, 0.488])


def test_a_relative_data_folder_becomes_absolute(tmp_path, monkeypatch):
    """Workers of a cluster may have another working folder."""
    from lotterylib.study.profile import DataSource

    monkeypatch.chdir(tmp_path)
    assert DataSource(name="fashion-mnist", root="data").root == tmp_path / "data"


def test_the_live_case_is_small_and_no_larger_than_the_study():
    from tests.study.helpers import tiny

    network, data, recipe = tiny().live_case()
    assert len(data.train[1]) == 20 and recipe.epochs == 1
    assert network(data.train[0][:2]).shape == (2, 10)
