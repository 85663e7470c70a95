import copy

import pytest
import yaml

from lotterylib import datasets, metrics
from lotterylib.errors import LotteryError, SettingError, UnknownNameError
from lotterylib.study import load_profile, profile_names
from lotterylib.study.plan import shape
from tests.study.helpers import TINY, cell_of, tiny


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
        (("dataset", "settings"), {"size": 64}, ["dataset", "digits has no setting 'size': it has none"]),
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
        (("models",), [{"name": "lenet"}, {"name": "lenet", "width": 1}], ["models repeats a name and width"]),
        (("models",), [], ["models", "at least 1 item"]),
        (("pruners",), ["lotery"], ["pruners", "did you mean 'lottery'?"]),
        (("pruners",), {"lottery": {"rates": 0.2}}, ["pruner lottery", "unknown key 'rates'"]),
        (("pruners",), {"lottery": {"rate": 2}}, ["pruner lottery", "rate", "less than 1", "got 2"]),
        (("pruners",), {"a": {"pruner": "lotery"}}, ["pruners", "did you mean 'lottery'?"]),
        (("pruners",), {"control": {"pruner": "random"}}, ["pruners", "control is a name of its own"]),
        (("pruners",), {"snip": {"pruner": "random"}}, ["pruners", "snip is a name of its own"]),
        (("pruners",), {"random": {}, "b": {"pruner": "random"}}, ["b and random are the same"]),
        (("pruners",), {"../b": {"pruner": "random"}}, ["pruners", "label '../b'"]),
        (("pruners",), {"b": {"pruner": "lottery", "rate": "0.2"}}, ["pruners.b.rate: want a number of type float"]),
        (("controls",), -1, ["controls", "greater than or equal to 0"]),
        (("control_with",), [3], ["control_with: want some of the seeds [0], got [3]"]),
        (("metrics",), ["accuracy", "acuracy"], ["metrics", "did you mean 'accuracy'?"]),
        (("metrics",), {"accuracy": {"topk": 5}}, ["metrics: metric accuracy: no setting 'topk': it has none"]),
        *(
            (("metrics",), {"accuracy": {}, name: {key: value}}, [f"metrics: metric {name}: ", key, *words])
            for name, key, value, words in (
                ("ece", "bins", "many", ["valid integer, got 'many'"]),
                ("ece", "bin", 15, ["unknown setting 'bin': did you mean 'bins'? known: bins, images"]),
                ("ece", "bins", True, ["valid integer, got True"]),
                ("nll", "images", -5, ["greater than 0, got -5"]),
                ("nll", "images", None, ["valid integer, got None"]),
                ("nll", "images", 2.5, ["valid integer, got 2.5"]),
                ("fgsm_accuracy", "epsilon", True, ["valid number, got True"]),
                ("pac_bayes_sigma", "draws", 1, ["greater than or equal to 2, got 1"]),
                ("hessian_trace", "max_probes", 3, ["greater than or equal to 4, got 3"]),
                ("ood_auroc", "sets", ["nowhere"], ["sets.0: unknown out-of-distribution set 'nowhere'", "digits, "]),
                ("ood_auroc", "sets", "digit", ["did you mean 'digits'?"]),
                ("ood_auroc", "sets", [], ["at least 1 item"]),
                ("explained_units", "threshold", 4, ["less than 1, got 4"]),
                ("explained_units", "share", 0, ["greater than 0, got 0"]),
                ("stability", "superpixels", "slick", ["'auto', 'slic'", "got 'slick'"]),
            )
        ),
        # what YAML itself reads otherwise, or never means, is refused with its line before the metric sees it
        *(
            (("metrics",), {"accuracy": {}, name: {key: value}}, [f"line 12: metrics.{name}.{key}: ", *words])
            for name, key, value, words in (
                ("fgsm_accuracy", "epsilon", "1e-3", ["YAML reads 1e-3 as text; write 1.0e-3"]),
                ("pac_bayes_sigma", "upper", "2e1", ["write 2.0e+1"]),
                ("pac_bayes_sigma", "upper", float("inf"), ["finite number, got inf"]),
                ("pac_bayes_sigma", "rise", float("nan"), ["got nan"]),
            )
        ),
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
    first = data.train[0].clone()
    data.train[0].zero_()
    # what one case does to its data is not seen by the next
    assert tiny().live_case()[1].train[0].equal(first)


def test_a_profile_extends_another(tmp_path):
    """Mappings are merged, lists replaced, over two steps; the name is the file's own."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(TINY | {"title": "below"}))
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\nrecipe: {lr: 0.3}\nseeds: [4]\n")
    top = tmp_path / "sub" / "top.yaml"
    top.write_text("extends: ../middle.yaml\nrecipe: {epochs: 7}\npruners: {lottery: {rate: 0.5}}\n")
    found, below = load_profile(top), load_profile(tmp_path / "base.yaml")
    assert (found.name, found.title, found.seeds) == ("top", "below", [4])
    assert found.recipe == below.recipe.model_copy(update={"lr": 0.3, "epochs": 7})
    assert found.pruners == {"lottery": {"rate": 0.5}}  # a list there, so nothing to merge with
    assert found.dataset == below.dataset and found.live == below.live


@pytest.mark.parametrize(
    "base, words",
    [
        ("labtop", "extends: unknown profile 'labtop': did you mean 'laptop'?"),
        ("none.yaml", "none.yaml: cannot be read"),
        ("mine.yaml", "extends: goes round in a circle: mine.yaml → mine.yaml"),
        ("other.yaml", "extends: goes round in a circle: mine.yaml → other.yaml → mine.yaml"),
        (["laptop", "smoke"], "extends: want the name or path of one profile, got ['laptop', 'smoke']"),
        (None, "extends: want the name or path of one profile, got None"),
    ],
)
def test_what_cannot_be_extended(tmp_path, base, words):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"extends": base}))
    (tmp_path / "other.yaml").write_text("extends: mine.yaml\n")
    with pytest.raises(SettingError) as caught:
        load_profile(file)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, rounds", [("cifar10", 21), ("cifar100", 21), ("cifar10-wide", 26), ("cifar100-wide", 26), ("imagenet", 12)])  # fmt: skip
def test_profiles_of_the_papers_scale(name, rounds):
    """Sparsities, learning rates and what is pruned, at CIFAR's 45,000 training images."""
    profile = load_profile(name)
    assert profile.levels == pytest.approx([1 - 0.8**n for n in range(1, rounds + 1)])
    assert {settings["scope"] for settings in profile.pruners.values()} == {"conv"}
    assert set(profile.metrics) == set(load_profile("laptop").metrics)
    if profile.dataset.name != "imagenet":
        recipe, images = profile.recipe, 45_000
        rates = [
            recipe.lr_at(epoch * recipe.steps_per_epoch(images), images)
            for epoch in (0, 90, 91, 135, 136, 181)
        ]
        assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
        last = recipe.lr_at(136 * recipe.steps_per_epoch(images) - 1, images)
        assert last == pytest.approx(0.01) and recipe.rewind_step(images) == 2 * (45_000 // 128)


def test_a_profile_is_cut_down_to_cells_of_the_same_names():
    from lotterylib.study import expand
    from tests.study.helpers import tiny

    whole = tiny(seeds=[0, 1, 2], metric_seeds=[0], fewer_seeds={"random": [2]})
    every = {cell.id for cell in expand(whole)}
    part = whole.cut(["lottery", "random"], [2, 1], [0.488])
    found = [(cell.pruner, cell.seed, round(cell.sparsity, 3)) for cell in expand(part)]
    assert found == [
        ("dense", 1, 0),
        ("lottery", 1, 0.488),
        ("dense", 2, 0),
        ("random", 2, 0.488),
        ("lottery", 2, 0.488),
    ]
    assert {cell.id for cell in expand(part)} <= every
    assert part.metrics_at(1) == {"accuracy": {}}
    assert whole.cut() == whole and [c.pruner for c in expand(whole.cut(["dense"], [0]))] == ["dense"]


@pytest.mark.parametrize(
    "part, words",
    [
        ({"only": ["lotery"]}, "unknown pruner of this profile 'lotery': did you mean 'lottery'?"),
        ({"only": ["snip"]}, "unknown pruner of this profile 'snip'"),
        ({"seeds": [3]}, "seed 3 is not in the profile tiny: it has [0]"),
        ({"sparsities": [0.49]}, "sparsity 0.49 is not in the profile tiny: it has 0.200, 0.488"),
    ],
)
def test_parts_that_a_profile_does_not_have(part, words):
    from tests.study.helpers import tiny

    with pytest.raises(LotteryError) as caught:
        tiny().cut(**part)
    assert words in str(caught.value)


def test_settings_of_a_data_set_are_part_of_a_ticket_where_there_are_any():
    plain, small, smaller = (
        tiny(dataset={"name": "imagenet", "root": "x", **more})
        for more in ({}, {"settings": {"size": 64, "resize": 72}}, {"settings": {"size": 32, "resize": 36}})
    )
    assert cell_of(plain, "dense").identity["dataset"] == {"name": "imagenet", "limit": None}
    assert cell_of(small, "dense").identity["dataset"]["settings"] == {"size": 64, "resize": 72}
    assert len({cell_of(p, "dense").id for p in (plain, small, smaller)}) == 3
    assert [shape(p.dataset).size for p in (plain, small, smaller)] == [224, 64, 32]
    with pytest.raises(
        SettingError, match="imagenet has no setting 'pixels': it has resize, size, validation"
    ):
        datasets.load("imagenet", pixels=3)


def test_settings_of_metrics_stay_as_written():
    """A record is named by them: a default that nobody wrote would change the name."""
    profile = tiny(metrics={"accuracy": {}, "ood_auroc": {"sets": "uniform"}, "ece": {"images": 20}})
    assert profile.metrics == {"accuracy": {}, "ood_auroc": {"sets": "uniform"}, "ece": {"images": 20}}
    assert metrics.build("ood_auroc", sets="uniform").sets_of("digits") == ["uniform"]


def test_seeds_of_controls_are_no_seeds_of_the_study():
    assert tiny(seeds=[999], controls=10).control_seeds(999)[0] == 1000
    with pytest.raises(ValueError, match="seeds: want seeds below 1000"):
        tiny(seeds=[0, 1003], controls=1)


def test_the_laptop_study_has_controls_and_both_forms_of_random_pruning():
    profile = load_profile("laptop")
    assert (profile.controls, profile.recipe.epochs) == (10, 24)
    assert profile.recipe.flip and profile.recipe.crop_padding == 1
    assert (profile.pruner("random").distribution, profile.pruner("random-erk").distribution) == (
        "global",
        "erk",
    )


@pytest.mark.parametrize("key", ["pruners", "metrics"])
@pytest.mark.parametrize("listed", ["{magnitude: {iterations: 2}}", "{accuracy: }", "[accuracy]", "1"])
def test_a_list_of_other_things_than_names_is_one_line(tmp_path, key, listed):
    (tmp_path / "mine.yaml").write_text(f"extends: smoke\nname: mine\n{key}:\n - {listed}\n")
    with pytest.raises(SettingError, match=f"{key}: .*want a list of names") as caught:
        load_profile(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
