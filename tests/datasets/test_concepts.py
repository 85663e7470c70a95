import csv

import numpy as np
import pytest
import torch
from PIL import Image

from lotterylib import datasets
from lotterylib.datasets.broden import broden
from lotterylib.datasets.concepts import GARMENTS as CLASS_NAMES
from lotterylib.datasets.concepts import concepts
from lotterylib.errors import DataError, SettingError

SHIRT, TROUSER, BAG, BOOT = 0, 1, 8, 9


def shown(picture, label=SHIRT, names=CLASS_NAMES):
    """Concepts of one grey picture [H, W]."""
    picture = torch.as_tensor(picture, dtype=torch.float32)
    return concepts(picture[None, None], torch.tensor([label]), names)


def block(top, bottom, left, right, grey=0.6, size=32):
    picture = np.zeros((size, size))
    picture[top:bottom, left:right] = grey
    return picture


def rows_and_columns(mask):
    """The mask's bounding box, if it is a full rectangle: (top, bottom, left, right)."""
    ys, xs = np.nonzero(mask[0])
    box = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    assert mask[0, box[0] : box[1], box[2] : box[3]].all() and mask.sum() == len(ys)
    return box


def test_silhouettes_are_the_foreground_of_a_class():
    picture = block(4, 20, 6, 26)
    found = shown(picture, TROUSER)
    assert rows_and_columns(found["trouser"]) == (4, 20, 6, 26)
    assert not found["coat"].any()
    assert (found["background"] == ~found["trouser"]).all()
    assert found.category["trouser"] == "class"


@pytest.mark.parametrize(
    "name, label, box",
    # a garment of 20 × 20 pixels from (4, 6) on
    [
        ("collar", SHIRT, (4, 7, 13, 19)),
        ("sleeve", SHIRT, None),
        ("chest", SHIRT, (8, 16, 11, 21)),
        ("hem", SHIRT, (22, 24, 11, 21)),
        ("waist", TROUSER, (4, 8, 6, 26)),
        ("leg", TROUSER, (14, 24, 6, 26)),
        ("toe", BOOT, (4, 24, 6, 12)),
        ("heel", BOOT, (14, 24, 21, 26)),
        ("sole", BOOT, (20, 24, 6, 26)),
        ("shaft", BOOT, (4, 14, 6, 26)),
    ],
)
def test_parts_lie_where_the_rule_says(name, label, box):
    found = shown(block(4, 24, 6, 26), label)
    assert found.category[name] == "part"
    if box:
        assert rows_and_columns(found[name]) == box
    else:  # two sides
        assert (
            found[name][0, 4:24, 6:10].all()
            and found[name][0, 4:24, 22:26].all()
            and found[name].sum() == 160
        )
    other = {SHIRT: BAG, TROUSER: SHIRT, BOOT: SHIRT}[label]
    assert not shown(block(4, 24, 6, 26), other)[name].any()


def test_the_box_is_the_garments_own():
    two = np.stack([block(4, 24, 6, 26), block(10, 20, 0, 10)])
    images = torch.from_numpy(two).float()[:, None]
    collars = concepts(images, torch.tensor([SHIRT, SHIRT]), CLASS_NAMES)["collar"]
    assert rows_and_columns(collars[:1]) == (4, 7, 13, 19)
    assert rows_and_columns(collars[1:]) == (10, 11, 3, 7)


def test_a_handle_is_what_one_can_see_through():
    bag = block(4, 24, 6, 26)
    bag[6:10, 10:20] = 0  # under the handle
    bag[18, 15] = 0  # a dark spot further down is none
    found = shown(bag, BAG)
    assert found["gap"][0, 6:10, 10:20].all() and found["gap"].sum() == 41
    assert found["handle"][0, 6:10, 6:10].all() and found["handle"][0, 6:10, 20:26].all()
    assert found["handle"].sum() == 40
    assert not shown(block(4, 24, 6, 26), BAG)["handle"].any()


def test_outline_is_one_pixel_wide():
    found = shown(block(4, 24, 6, 26))["outline"]
    assert found.sum() == 4 * 19 and not found[0, 5:23, 7:25].any()


@pytest.mark.parametrize(
    "name, picture",
    [
        ("vertical edge", np.tile(np.arange(32) > 15, (32, 1))),
        ("horizontal edge", np.tile(np.arange(32) > 15, (32, 1)).T),
        ("rising edge", np.add.outer(np.arange(32), np.arange(32)) > 31),
        ("falling edge", np.subtract.outer(np.arange(32), np.arange(32)) > 0),
    ],
)
def test_edges_by_orientation(name, picture):
    for sign in (picture, ~picture):  # from dark to bright as from bright to dark
        found = shown(0.8 * sign + 0.1)
        assert found[name].sum() >= 32
        others = {k for k in found if found.category[k] == "edge" and k != name}
        assert len(others) == 3 and not any(found[k][0, 2:-2, 2:-2].any() for k in others)
    assert not shown(0.1 * picture + 0.4)[name].any()  # too faint


def test_bright_and_dark_are_of_the_garment():
    picture = block(4, 12, 0, 32, 0.9) + block(12, 20, 0, 32, 0.3) + block(20, 28, 0, 32, 0.6)
    found = shown(picture)
    assert rows_and_columns(found["bright"]) == (4, 12, 0, 32)
    assert rows_and_columns(found["dark"]) == (12, 20, 0, 32)  # black background is not dark cloth


def test_plain_and_patterned():
    checks = np.indices((32, 32)).sum(axis=0) % 2
    picture = np.where(np.arange(32) < 16, 0.5, 0.3 + 0.5 * checks)
    picture[:2] = 0
    found = shown(picture)
    assert found["plain"][0, 6:-2, :13].all() and not found["plain"][0, :, 14:].any()
    assert found["patterned"][0, 6:-2, 18:].all() and not found["patterned"][0, :, :14].any()
    assert not found["plain"][0, :4].any()  # near the background its edge would count as pattern


def test_empty_images_show_nothing_but_background():
    found = shown(np.zeros((32, 32)))
    assert [name for name, mask in found.items() if mask.any()] == ["background"]


def test_every_concept_occurs_in_fashion_mnist_and_says_its_rule():
    data = datasets.load("fashion-mini", limit=200)
    found = concepts(*data.test, data.class_names)
    assert len(found) == 33
    for name, mask in found.items():
        assert mask.dtype == bool and mask.shape == (200, 32, 32)
        assert 0.002 < mask.mean() < 0.8, name
        assert found.rule[name].endswith(".") and "\n" not in found.rule[name]
    assert set(found.category.values()) == {"class", "part", "place", "edge", "tone", "texture"}
    assert found["sleeve"] is found["sleeve"]  # made once


def test_other_data_have_the_concepts_that_need_no_garments():
    digits = datasets.load("digits", limit=20)
    found = concepts(*digits.test, digits.class_names)
    assert set(found.category.values()) == {"class", "place", "edge", "tone", "texture"}
    assert "7" in found and found["7"].any()
    colour = concepts(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1]), ("cat", "dog"))
    assert set(colour.category.values()) == {"scene", "edge", "tone", "texture", "colour"}
    assert all(mask.shape == (4, 16, 16) for mask in colour.values())


def test_without_a_background_the_class_is_the_whole_image():
    found = concepts(torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 0]), ("Cat", "dog"))
    assert found.category["cat"] == "scene" and "All of images labelled Cat" in found.rule["cat"]
    assert found["cat"].all(axis=(1, 2)).tolist() == [True, False, True]
    assert not found["cat"][1].any() and (found["dog"] == ~found["cat"]).all()
    many = concepts(torch.rand(1, 3, 8, 8), torch.tensor([0]), [str(i) for i in range(101)])
    assert "scene" not in many.category.values()


@pytest.mark.parametrize(
    "colour, name",
    [
        ((255, 0, 0), "red"), ((200, 30, 60), "red"), ((255, 140, 0), "orange"), ((120, 70, 20), "orange"),
        ((255, 255, 0), "yellow"), ((0, 128, 0), "green"), ((0, 0, 255), "blue"), ((100, 160, 220), "blue"),
        ((160, 32, 240), "violet"), ((255, 255, 255), "colourless"), ((120, 120, 120), "colourless"),
        ((20, 0, 0), None), ((200, 180, 180), None),
    ],
)  # fmt: skip
def test_colours_by_what_people_call_them(colour, name):
    picture = (torch.tensor(colour) / 255).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    found = concepts(picture, torch.tensor([0]), ("thing",))
    seen = {k for k in found if found.category[k] == "colour" and found[k].any()}
    assert seen == ({name} if name else set())
    assert not seen or found[name].all()


def test_a_class_called_like_a_colour_stays_a_class():
    found = concepts(torch.zeros(1, 3, 8, 8), torch.tensor([0]), ("orange", "pear"))
    assert found.category["orange"] == "scene" and found["orange"].all()
    assert found.category["orange (colour)"] == "colour" and not found["orange (colour)"].any()


@pytest.mark.parametrize(
    "images, labels, words",
    [
        (torch.rand(0, 1, 8, 8), torch.zeros(0).long(), "N at least 1"),
        (torch.rand(2, 8, 8), torch.zeros(2).long(), "want images"),
        (torch.rand(2, 1, 8, 8), torch.zeros(3).long(), "want images"),
        (torch.rand(2, 1, 8, 8), torch.tensor([0, 10]), r"0\.\.9"),
    ],
)
def test_images_without_fitting_labels_are_refused(images, labels, words):
    with pytest.raises(DataError, match=words):
        concepts(images, labels, CLASS_NAMES)


# --- Broden

COLUMNS = [
    "image",
    "split",
    "ih",
    "iw",
    "sh",
    "sw",
    "color",
    "object",
    "part",
    "material",
    "scene",
    "texture",
]
LABELS = [
    (1, "red-c", "color(2)"),
    (2, "street-s", "scene(1)"),
    (3, "tree", "object(9);part(1)"),
    (300, "wheel", "part(1)"),
    (4, "never", "object(1)"),
]


def png(path, numbers):
    numbers = np.asarray(numbers)
    pixels = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    """Two images of 8 × 8 pixels, labels in half the resolution, as Broden has them."""
    pictures = tmp_path / "images" / "ade20k"
    pictures.mkdir(parents=True)
    Image.new("RGB", (8, 8), (255, 51, 0)).save(pictures / "a.png")  # lossless, for the test's sake
    Image.new("RGB", (8, 8), (0, 0, 0)).save(pictures / "b.png")
    left = np.zeros((4, 4), int)
    left[:, :2] = 3
    wheel = np.zeros((4, 4), int)
    wheel[3, 3] = 300
    png(pictures / "a_object.png", left)
    png(pictures / "a_part_1.png", wheel)
    png(pictures / "a_part_2.png", left[::-1, ::-1])
    rows = [
        ["ade20k/a.png", "train", 8, 8, 4, 4, "", "ade20k/a_object.png", "ade20k/a_part_1.png;ade20k/a_part_2.png", "", "2", ""],
        ["ade20k/b.png", "val", 8, 8, 4, 4, "1", "", "", "", "", "1;3"],
        ["ade20k/missing.png", "val", 8, 8, 4, 4, "1", "", "", "", "", ""],
    ]  # fmt: skip
    write(tmp_path / "index.csv", [COLUMNS, *rows])
    labels = [[number, name, category, 5, 1.5, ""] for number, name, category in LABELS]
    write(tmp_path / "label.csv", [["number", "name", "category", "frequency", "coverage", "syns"], *labels])
    return tmp_path


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_broden_as_published(root):
    images, found = broden(root, size=8, limit=2)
    assert images.shape == (2, 3, 8, 8) and images.dtype == torch.float32
    assert images[0, :, 3, 3].tolist() == pytest.approx([1, 0.2, 0]) and not images[1].any()
    assert list(found) == ["red-c", "street-s", "tree", "wheel"]  # not what no image shows
    assert found.category == {"red-c": "color", "street-s": "scene", "tree": "object", "wheel": "part"}
    assert found["street-s"][0].all() and not found["street-s"][1].any()  # for the whole image
    assert found["red-c"][1].all() and not found["red-c"][0].any()
    tree = found["tree"]  # left as an object, right as a part; and all of the second image
    assert tree.all()
    wheel = np.zeros((2, 8, 8), bool)
    wheel[0, 6:, 6:] = True
    assert (found["wheel"] == wheel).all()


def test_brodens_labels_are_brought_to_size_without_mixing(root):
    _, found = broden(root, size=4, limit=1)
    assert found["wheel"].sum() == 1 and found["wheel"][0, 3, 3]
    assert set(found) == {"street-s", "tree", "wheel"}


def test_what_broden_lacks_is_named(root):
    with pytest.raises(DataError, match=r"missing\.png is missing, but index\.csv names it"):
        broden(root, size=8)
    (root / "images/ade20k/a_object.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a_object\.png is no readable image"):
        broden(root, size=8, limit=1)
    png(root / "images/ade20k/a_object.png", np.full((4, 4), 77))
    with pytest.raises(DataError, match="label 77, label.csv does not"):
        broden(root, size=8, limit=1)
    write(root / "index.csv", [COLUMNS, ["ade20k/a.png", "train", 8, 8, 4, 4, *[""] * 6]])
    with pytest.raises(DataError, match="none of the first 1 images has a label"):
        broden(root, size=8)
    write(root / "index.csv", [["picture"], ["ade20k/a.png"]])
    with pytest.raises(DataError, match=r"index\.csv: want rows with the columns image"):
        broden(root, size=8)
    with pytest.raises(SettingError, match="at least 1"):
        broden(root, size=0)
    with pytest.raises(DataError, match=r"label\.csv is missing: unpack"):
        broden(root / "nowhere")
