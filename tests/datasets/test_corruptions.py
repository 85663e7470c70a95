import cv2
import imagecorruptions
import numpy as np
import pytest
import torch
from imagecorruptions import corruptions as reference
from skimage import data

from lotterylib import datasets
from lotterylib.datasets import CORRUPTIONS, corrupt, corruptions
from lotterylib.errors import DataError, SettingError, UnknownNameError
from tests.conftest import untouched_rng

COMMON, HELD_OUT = CORRUPTIONS[:15], CORRUPTIONS[15:]
BLURS = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur")
# Of the others the published parameters do not simply rise, chance decides, or grey images do not react.
RISING = ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur")  # fmt: skip


@pytest.fixture(scope="module")
def shirts():
    """24 grey images, 32 × 32."""
    return datasets.load("fashion-mini", limit=24).test[0]


@pytest.fixture(scope="module")
def photograph():
    """uint8 [224, 224, 3]."""
    return cv2.resize(data.astronaut(), (224, 224), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def colours(photograph):
    """12 colour patches, [12, 3, 32, 32]."""
    patches = tensor(photograph).unfold(1, 32, 32).unfold(2, 32, 32).flatten(1, 2).movedim(0, 1)
    return patches[::4].contiguous()


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1).contiguous()


def distance(a, b):
    return (a - b).abs().mean().item()


# --- what every corruption promises


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("severity", [1, 5])
def test_form(shirts, colours, corruption, severity):
    for images in (shirts, colours, shirts[..., 2:30, 2:30], shirts[..., :20]):
        with untouched_rng():
            before, numpy_state = images.clone(), np.random.get_state()[1].copy()
            changed = corrupt(images, corruption, severity)
            assert (np.random.get_state()[1] == numpy_state).all()
        assert torch.equal(images, before)
        assert changed.shape == images.shape and changed.dtype == torch.float32
        assert changed.min() >= 0 and changed.max() <= 1
        assert torch.equal(changed, (changed * 255).round() / 255)
        moved = distance(changed, images)
        assert moved == 0 if corruption == "saturate" and images.shape[1] == 1 else 1e-4 < moved < 0.5


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_image_is_corrupted_alike_whatever_stands_around_it(shirts, corruption, monkeypatch):
    for severity in (1, 4):
        changed = corrupt(shirts, corruption, severity, seed=3)
        assert torch.equal(corrupt(shirts, corruption, severity, seed=3), changed)
        assert torch.equal(corrupt(shirts[:5], corruption, severity, seed=3), changed[:5])
        assert torch.equal(corrupt(shirts[0], corruption, severity, seed=3), changed[0])
        other = shirts.clone()
        other[0] = 1 - other[0]
        assert torch.equal(corrupt(other, corruption, severity, seed=3)[1:], changed[1:])
        with monkeypatch.context() as small:
            small.setattr(corruptions, "_CHUNK", 7 * 1024)  # in parts of seven images
            assert torch.equal(corrupt(shirts, corruption, severity, seed=3), changed)


DRAWN = tuple(c for c in CORRUPTIONS if c not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate"))  # fmt: skip


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_what_is_drawn_depends_on_seed_severity_and_place(shirts, corruption):
    twins = shirts[[4, 4]]
    changed = corrupt(twins, corruption, 5)
    same = torch.equal(corrupt(twins, corruption, 5, seed=1), changed)
    assert same == (corruption not in DRAWN)
    assert torch.equal(changed[0], changed[1]) == (corruption not in DRAWN)


@pytest.mark.parametrize("corruption", RISING)
@pytest.mark.parametrize("scale", ["cifar-c", "imagenet-c"])
def test_severities_rise(shirts, corruption, scale):
    moved = [distance(corrupt(shirts, corruption, s, scale=scale), shirts) for s in range(1, 6)]
    assert moved == sorted(moved) and moved[4] > 1.5 * moved[0]


@pytest.mark.parametrize("corruption", ["glass_blur", "motion_blur", "snow", "frost", "fog", "spatter"])
def test_the_last_severity_is_worse_than_the_first(shirts, corruption):
    first, last = (distance(corrupt(shirts, corruption, s), shirts) for s in (1, 5))
    assert last > 1.2 * first


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_small_images_get_the_severities_published_for_them(shirts, photograph, corruption):
    assert torch.equal(corrupt(shirts, corruption, 2), corrupt(shirts, corruption, 2, scale="cifar-c"))
    large = tensor(photograph)[:, :72, :72].contiguous()
    assert torch.equal(corrupt(large, corruption, 2), corrupt(large, corruption, 2, scale="imagenet-c"))


@pytest.mark.parametrize("corruption", [*BLURS, "elastic_transform", "pixelate", "contrast"])
def test_a_flat_image_stays_flat(corruption):
    for channels in (1, 3):
        flat = torch.full((2, channels, 32, 32), 102 / 255)
        for severity in range(1, 6):
            assert torch.equal(corrupt(flat, corruption, severity), flat)


@pytest.mark.parametrize("corruption", [*BLURS, "snow", "fog", "brightness", "contrast", "elastic_transform", "pixelate"])  # fmt: skip
def test_grey_stays_grey_in_colour(shirts, corruption):
    changed = corrupt(shirts[:6].expand(-1, 3, -1, -1), corruption, 4)
    assert (changed - changed[:, :1]).abs().max() <= 1.01 / 255
    assert distance(changed[:, :1], corrupt(shirts[:6], corruption, 4)) < 1 / 255


# --- against imagecorruptions, which has the severities of ImageNet-C built in and rounds down to 8 bits


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize(
    "corruption",
    ["defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate"],
)  # fmt: skip
def test_without_chance_the_pictures_are_those_of_imagecorruptions(photograph, corruption, severity):
    theirs = tensor(imagecorruptions.corrupt(photograph, corruption_name=corruption, severity=severity))
    ours = corrupt(tensor(photograph), corruption, severity)
    assert (ours - theirs).abs().max() < 2.01 / 255
    assert distance(ours, theirs) < 0.8 / 255


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize(
    "corruption", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "snow"]
)
def test_noise_has_the_moments_of_imagecorruptions(photograph, corruption, severity):
    np.random.seed(0)
    theirs = tensor(imagecorruptions.corrupt(photograph, corruption_name=corruption, severity=severity))
    clean = tensor(photograph)
    ours = corrupt(clean, corruption, severity)
    for moment in (torch.mean, torch.std):
        assert moment(ours) == pytest.approx(moment(theirs).item(), abs=0.01)
        assert moment(ours - clean) == pytest.approx(moment(theirs - clean).item(), abs=0.01, rel=0.03)


@pytest.mark.parametrize("corruption", ["frost", "fog", "spatter", "motion_blur"])
def test_other_corruptions_move_images_as_far_as_imagecorruptions(photograph, corruption):
    clean = tensor(photograph)[:, ::2, ::2].contiguous()
    small = np.ascontiguousarray(photograph[::2, ::2])
    for severity in (2, 4):
        np.random.seed(0)
        theirs = [
            imagecorruptions.corrupt(small, corruption_name=corruption, severity=severity) for _ in range(12)
        ]
        ours = corrupt(clean.expand(12, -1, -1, -1), corruption, severity)
        theirs = torch.stack([tensor(t) for t in theirs])
        assert distance(ours, clean) == pytest.approx(distance(theirs, clean), rel=0.25)
        assert ours.std() == pytest.approx(theirs.std().item(), rel=0.15)


@pytest.mark.parametrize("degrees", [-135.0, -45.0, -17.0, 0.0, 33.0])
def test_motion_is_imagecorruptions_motion(photograph, degrees):
    clean = tensor(photograph)
    theirs = reference._motion_blur(photograph / np.float32(255), radius=12, sigma=4, angle=degrees)
    ours = corruptions._smear(clean[None].numpy(), 12, 4, np.array([degrees]))[0]
    assert np.abs(ours - theirs.transpose(2, 0, 1)).max() < 1e-3  # the tail beyond four standard deviations


def test_the_disk_is_imagecorruptions_disk():
    """Where its grid does not cut the softened edge off."""
    for radius, softness in (
        *corruptions.CIFAR_C["defocus_blur"],
        *corruptions.IMAGENET_C["defocus_blur"][:3],
    ):
        theirs, ours = reference.disk(radius, softness), corruptions._disk(radius, softness)
        edge = (len(theirs) - len(ours)) // 2
        assert np.abs(np.pad(ours, edge) - theirs).max() < 1e-6
    largest = corruptions._disk(10, 0.5)
    assert largest.sum() == pytest.approx(1) and np.allclose(largest, largest[::-1].T)


def test_glass_shuffles_as_far_as_imagecorruptions_on_grey(monkeypatch, shirts):
    """On colour images it copies pixels instead of swapping them, and is compiled, which takes ten seconds."""
    monkeypatch.setattr(corruptions, "_gaussian_blur", lambda x, sigma: x)
    shuffle = reference._shuffle_pixels_njit_glass_blur.py_func
    for severity, c in enumerate(corruptions.IMAGENET_C["glass_blur"], start=1):
        theirs = np.stack([shuffle(32, 32, s[0].numpy().copy(), c, seed=i) for i, s in enumerate(shirts)])
        ours = corrupt(shirts, "glass_blur", severity, scale="imagenet-c")
        assert distance(ours, shirts) == pytest.approx(
            distance(torch.from_numpy(theirs)[:, None], shirts), rel=0.04
        )


# --- one by one, by hand


@pytest.mark.parametrize("severity, std", zip(range(1, 6), (0.04, 0.06, 0.08, 0.09, 0.10), strict=True))
def test_noise_of_known_spread(severity, std):
    grey = torch.full((40, 1, 32, 32), 128 / 255)
    assert (corrupt(grey, "gaussian_noise", severity) - grey).std() == pytest.approx(std, rel=0.03)
    photons = (500, 250, 100, 75, 50)[severity - 1]  # a Poisson count has the variance of its mean
    spread = (corrupt(grey, "shot_noise", severity) - grey).std().item()
    assert spread == pytest.approx((0.502 / photons) ** 0.5, rel=0.03)
    struck = corrupt(grey, "impulse_noise", severity)
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    assert (struck == 1).double().mean() == pytest.approx(share / 2, rel=0.15)
    assert (struck == 0).double().mean() == pytest.approx(share / 2, rel=0.15)
    speckles = corrupt(grey, "speckle_noise", severity)
    assert (speckles - grey).std() == pytest.approx(
        0.502 * (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1], rel=0.03
    )
    black = torch.zeros(2, 1, 32, 32)
    assert torch.equal(corrupt(black, "speckle_noise", severity), black)
    assert torch.equal(corrupt(black, "shot_noise", severity), black)


def test_brightness_and_contrast_by_hand(shirts):
    brighter = corrupt(shirts, "brightness", 2)
    assert (brighter - (shirts + 0.1).clamp(max=1)).abs().max() <= 0.51 / 255
    mean = shirts.mean(dim=(2, 3), keepdim=True)
    paler = corrupt(shirts, "contrast", 2)
    assert (paler - (mean + 0.5 * (shirts - mean))).abs().max() <= 0.51 / 255


def test_glass_only_moves_pixels(monkeypatch, shirts):
    monkeypatch.setattr(corruptions, "_gaussian_blur", lambda x, sigma: x)
    shuffled = corrupt(shirts, "glass_blur", 4)
    assert torch.equal(shuffled.flatten(1).sort().values, shirts.flatten(1).sort().values)
    assert not torch.equal(shuffled, shirts)
    spot = torch.zeros(200, 1, 32, 32)
    spot[:, 0, 16, 16] = 1
    places = corrupt(spot, "glass_blur", 1).flatten(1).argmax(1)
    down, right = places // 32 - 16, places % 32 - 16
    assert {int(v) for v in down} >= {-1, 0, 1} and down.max() <= 1 and right.max() <= 1
    assert not torch.equal(down, right)


def test_zoom_keeps_the_middle_and_frost_never_darkens_black(shirts):
    ramp = torch.linspace(0, 1, 33)[:32].expand(1, 1, 32, 32)
    zoomed = corrupt(ramp, "zoom_blur", 5)
    assert zoomed[0, 0, 16, 15:17].mean() == pytest.approx(ramp[0, 0, 16, 15:17].mean().item(), abs=0.02)
    black = torch.zeros(20, 3, 32, 32)
    ice = corrupt(black, "frost", 5) / 0.45  # the ice alone
    assert 0.5 < ice.mean() < 0.8 and 0.05 < ice.std() < 0.25
    red, green, blue = ice.mean(dim=(0, 2, 3)).tolist()
    assert red < green < blue


def test_fog_is_a_convex_mix_with_a_veil(shirts):
    """x' = (x + c·veil)·m/(m + c): a black pixel shows the veil alone, at most c·m/(m + c)."""
    foggy = corrupt(shirts, "fog", 4)
    brightest = shirts.amax(dim=(1, 2, 3), keepdim=True)
    assert (foggy <= brightest + 0.51 / 255).all()
    veil = foggy * (brightest + 1) / brightest - shirts
    assert veil.min() > -0.01 and veil.max() < 1.01
    assert veil.std(dim=(1, 2, 3)).min() > 0.05


def test_plasma_is_smoother_with_a_larger_decay():
    random = [corruptions._Generators(0, "fog", 1, range(8)) for _ in range(2)]
    rough, smooth = (corruptions._plasma(d, 32, decay) for d, decay in zip(random, (1.2, 3), strict=True))
    assert rough.shape == (8, 32, 32)
    for veil in (rough, smooth):
        assert np.allclose(veil.min(axis=(1, 2)), 0) and np.allclose(veil.max(axis=(1, 2)), 1)
    jump = [np.abs(np.diff(v, axis=1)).mean() for v in (rough, smooth)]
    assert jump[0] > 2 * jump[1]
    assert corruptions._plasma(corruptions._Generators(0, "fog", 1, range(1)), 33, 2).shape == (1, 64, 64)


# --- what is refused


def test_unknown_names_suggest_the_nearest(shirts):
    with pytest.raises(
        UnknownNameError, match="unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"
    ):
        corrupt(shirts, "gausian_noise", 1)
    with pytest.raises(UnknownNameError, match="did you mean 'cifar-c'"):
        corrupt(shirts, "fog", 1, scale="cifar10-c")


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, 2.5, "3", None, True])
def test_severities_outside_one_to_five_are_refused(shirts, severity):
    with pytest.raises(SettingError, match="severity must be 1, 2, 3, 4 or 5, got"):
        corrupt(shirts, "fog", severity)


@pytest.mark.parametrize(
    "images, words",
    [
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), "float32"),
        (torch.zeros(32, 32), r"\[C, H, W\]"),
        (torch.zeros(2, 2, 32, 32), "1 or 3 channels"),
        (torch.zeros(0, 1, 32, 32), "no images"),
        (torch.zeros(2, 1, 32, 6), "at least 8 pixels"),
        (torch.full((2, 1, 32, 32), 1.1), r"\[0, 1\]"),
        (torch.full((2, 1, 32, 32), torch.nan), r"\[0, 1\]"),
    ],
)
def test_images_of_another_form_are_refused(images, words):
    with pytest.raises(DataError, match=words) as caught:
        corrupt(images, "fog", 1)
    assert "\n" not in str(caught.value)


def test_there_are_fifteen_and_four():
    assert len(COMMON) == 15 and HELD_OUT == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert tuple(corruptions.IMAGENET_C) == CORRUPTIONS
    for table in (corruptions.CIFAR_C, corruptions.IMAGENET_C):
        assert all(len(rows) == 5 for rows in table.values())
