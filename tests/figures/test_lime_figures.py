import pytest
import torch

from lotterylib import figures
from lotterylib.errors import DataError
from lotterylib.metrics.interpretability import explain, superpixels
from tests.conftest import toy_data, toy_network

IMAGES = toy_data().test[0][:3]


def explanations(count=3):
    network = toy_network().eval()
    network[-1].weight.data *= 8
    return explain(network, IMAGES[:count], samples=40)


@pytest.mark.parametrize("networks", [["dense"], ["dense", "lottery", "random", "my-own"]])
def test_heat_maps_share_one_scale_and_say_what_they_show(networks):
    found = explanations()
    figure, alt = figures.superpixel_maps(IMAGES, dict.fromkeys(networks, found), "abc")
    top = max(e.coefficients.abs().max().item() for e in found)
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert len(panels) == 3 * (1 + len(networks))
    heats = [axis.images[0] for i, axis in enumerate(panels) if i % (1 + len(networks))]
    assert {heat.get_clim() for heat in heats} == {(-top, top)}
    figure.canvas.draw()
    ticks = dict(zip(bar.get_xticks(), (t.get_text() for t in bar.get_xticklabels()), strict=True))
    assert all(float(said.replace("−", "-")) == pytest.approx(100 * at) for at, said in ticks.items())
    assert bar.get_xlabel().endswith("(percentage points)") and figure.get_size_inches()[0] <= 9.7
    assert panels[0].get_title() == "Image" and panels[1].get_title() == "Dense"
    first = found[0]
    assert panels[1].get_xlabel() == f"{'abc'[first.target]} {first.prediction:.0%}\nR² {first.r2:.2f}"
    assert all(figures.look(n).label in alt for n in networks) and f"{top:.2f}" in alt
    assert f"{first.coefficients[first.coefficients.abs().argmax()]:+.2f}" in alt


def test_signs_stand_inside_their_superpixels():
    (found,) = explanations(1)
    figure, _ = figures.superpixel_maps(IMAGES[:1], {"dense": [found]}, "abc")
    limit = 0.1 * found.coefficients.abs().max()
    drawn = {}
    for line in figure.axes[1].lines:
        (x,), (y,) = line.get_data()
        drawn[int(found.segments[y, x])] = line.get_marker()
    wanted = {i: "+" if c > 0 else "_" for i, c in enumerate(found.coefficients.tolist()) if abs(c) >= limit}
    assert drawn == wanted and len(drawn) > 1


def test_a_constant_network_is_called_so():
    network = toy_network().eval()
    for p in network[-1].parameters():
        p.data.zero_()
    found = explain(network, IMAGES, samples=40)
    figure, _ = figures.superpixel_maps(IMAGES, {"dense": found}, "abc")
    assert figure.axes[1].get_xlabel().endswith("constant")


def test_heat_maps_need_an_explanation_of_every_image():
    with pytest.raises(DataError, match="each of the 3 images"):
        figures.superpixel_maps(IMAGES, {"dense": explanations(2)}, "abc")
    with pytest.raises(DataError, match="each of the 3 images"):
        figures.superpixel_maps(IMAGES, {}, "abc")


def test_cuts_are_counted_and_bordered():
    halves = (torch.arange(12) // 6).expand(3, 12, 12)  # left and right: one border, twelve pixels long
    figure, alt = figures.superpixel_cuts(IMAGES, {"halves": halves, "SLIC": superpixels(IMAGES)})
    assert "halves: 2 to 2 superpixels" in alt and "SLIC" in alt
    first = figure.axes[0]
    assert first.get_title() == "2" and first.get_ylabel() == "halves"
    edges = first.collections[0].get_segments()
    assert len(edges) == 12 and all((edge[:, 0] == 5.5).all() for edge in edges)


def test_colour_images_are_drawn_too():
    images = IMAGES.repeat(1, 3, 1, 1)
    figures.superpixel_cuts(images, {"SLIC": superpixels(images)})


def test_one_explanation_shows_samples_answers_and_fit():
    (found,) = explanations(1)
    samples, answers = IMAGES[:2], torch.tensor([0.9, 0.25, 0.4])
    fitted = torch.tensor([0.8, 0.3, 0.5])
    figure, alt = figures.one_explanation(IMAGES[0], samples, answers, fitted, found)
    first, *hidden, fit, heat = figure.axes
    assert [axis.get_title() for axis in (first, *hidden)] == ["the image", "answer 90%", "answer 25%"]
    for axis, picture in zip((first, *hidden), (IMAGES[0], *samples), strict=True):
        assert axis.images[0].get_array().tolist() == picture.movedim(0, -1).squeeze(-1).tolist()
        # what is hidden is black, on a dark page too, which turns all but photographs to negatives
        assert axis.images[0].get_cmap().name == "gray"
    everything, above, _ = fit.lines
    assert (
        list(everything.get_ydata()) == answers.tolist() and list(everything.get_xdata()) == fitted.tolist()
    )
    assert list(above.get_ydata()) == answers[:2].tolist()
    assert f"R² {found.r2:.2f}" in fit.get_title(loc="left") and heat.images
    assert "2 samples of it" in alt and "answered with 90%, 25%" in alt
    assert f"{int((found.coefficients > 0).sum())} speak for" in alt
