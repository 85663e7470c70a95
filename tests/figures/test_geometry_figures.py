import matplotlib.pyplot as plt
import pytest
import torch

from lotterylib import figures
from lotterylib.metrics.geometry import Density, Line, Surface


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def density(top):
    """Bells at 0 and at ``top``."""
    grid = torch.linspace(-2, top + 2, 2001, dtype=torch.float64)
    bell = (
        torch.exp(-0.5 * ((grid[:, None] - torch.tensor([0.0, top])) / 0.1) ** 2)
        @ torch.tensor([0.99, 0.01]).double()
    )
    return Density(grid, bell / torch.trapezoid(bell, grid))


def surface(height=1.0, points=5):
    positions = torch.linspace(-1, 1, points, dtype=torch.float64)
    return Surface(positions, height * (0.1 + positions[:, None] ** 2 + 2 * positions**2))


def line(top):
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    return Line(t, 0.2 + 4 * top * t * (1 - t), 0.1 + 0.2 * t * (1 - t))


@pytest.mark.parametrize("names", [["dense"], ["dense", "lottery", "a-pruner-of-mine"]])
def test_spectra_mark_the_largest_eigenvalue(names):
    figure, alt = figures.spectra({n: density(10.0 * (i + 1)) for i, n in enumerate(names)})
    assert len(figure.axes) == len(names) and figure.axes[-1].get_xlabel().startswith("eigenvalue")
    for i, axis in enumerate(figure.axes):
        [line] = axis.lines
        assert line.get_xdata()[0] == pytest.approx(10.0 * (i + 1), abs=0.02)
        assert f"about {10 * (i + 1)}" in axis.get_title(loc="left") and axis.get_ylabel() == "density"
    assert "Dense 10" in alt and "nan" not in alt


def test_the_largest_eigenvalue_need_not_be_a_peak():
    """A network whose last eigenvalue is a shoulder of a heavier one; the Hessian of a diagonal quadratic is known."""
    from lotterylib.metrics import geometry

    scales = torch.tensor([0.1, 0.2, 30.0, 40.0])

    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 1, bias=False)

        def forward(self, x):
            return (x * scales * self.linear.weight.square() / 2).sum(1, keepdim=True)

    found = geometry.spectral_density(
        Quadratic(), torch.ones(1, 4), torch.zeros(1).long(), steps=4, runs=1, loss=lambda z, _: z[:, 0]
    )
    _, alt = figures.spectra({"dense": found})
    assert "The largest: Dense 40." in alt


@pytest.mark.parametrize("names", [["dense"], ["dense", "lottery", "random", "snip"]])
def test_surfaces_share_one_colour_scale(names):
    figure, alt = figures.surfaces({n: surface(10.0**i) for i, n in enumerate(names)})
    panels = [a for a in figure.axes if a.get_title(loc="left")]
    for i, (panel, name) in enumerate(zip(panels, names, strict=True)):
        # 0.1 at the centre, 3.1 in the corners, times the height
        reach = f"{0.1 * 10**i:,.3g} to {3.1 * 10**i:,.4g} nats"
        assert panel.get_title(loc="left") == f"{figures.look(name).label}: {reach}"
    limits = {c.get_clim() for a in panels for c in a.collections if c.get_array() is not None and c.filled}
    assert len(limits) == 1
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "training loss (nats) ↓"
    assert "Dense 0.1 at the centre" in alt


def test_surfaces_bear_flat_empty_and_infinite_losses():
    flat, zero, burst = surface(0.0), surface(0.0), surface()
    flat = Surface(flat.positions, flat.losses + 2)
    burst.losses[0, 0], burst.losses[1, 1] = torch.inf, torch.nan
    for found in ({"dense": flat}, {"dense": zero}, {"dense": burst, "lottery": zero}):
        figure, alt = figures.surfaces(found)
        figure.canvas.draw()
        assert "nan" not in alt and "inf" not in alt


@pytest.mark.parametrize("names", [["dense and its ticket"], ["one", "two", "three", "four", "five"]])
def test_lines_name_their_barriers(names):
    figure, alt = figures.connection({n: line(0.5 * (i + 1)) for i, n in enumerate(names)})
    loss, error = figure.axes
    assert loss.get_ylabel() == "loss (nats) ↓" and error.get_ylabel() == "error (%) ↓"
    told = [text.get_text().partition(": barrier ")[0] for text in figure.legends[0].get_texts()]
    assert sorted(told) == sorted(names)
    assert f"{names[0]}: barrier 0.5 nats and 5 points" in alt
    assert max(error.lines[0].get_ydata()) == pytest.approx(15)


@pytest.mark.parametrize("channels, count", [(1, 1), (3, 4)])
def test_directions_stand_below_their_images(channels, count):
    pictures = torch.zeros(count, channels, 6, 6)
    pictures[..., :3] = 1
    on = torch.zeros_like(pictures)
    on[..., :3] = -1
    figure, alt = figures.pixel_directions(pictures, {"dense": on, "lottery": 1 - pictures, "random": 0 * on})
    assert len(figure.axes) == 4 * count
    assert [figure.axes[i * count].get_ylabel() for i in range(4)] == ["image", "Dense", "LTH", "RP"]
    assert "Dense 100%; LTH 0%; RP 0%" in alt


def test_shaken_weights_show_every_draw_and_what_is_allowed():
    before = torch.tensor([1.0, -0.5, 0.0])
    losses = {0.0: [0.2, 0.2], 0.1: [0.2, 0.23], 0.3: [0.4, 0.9]}
    seen = {}
    for scale in losses:
        figure, seen[scale] = figures.shaken(before, before * (1 + scale), losses, scale, 0.22)
        upper, lower = figure.axes
        assert upper.lines[1].get_ydata().tolist() == (before * (1 + scale)).tolist()
        drawn = {ln.get_xdata()[0]: list(ln.get_ydata()) for ln in lower.lines if ln.get_marker() in "o."}
        assert drawn == losses
        [shown] = [ln for ln in lower.lines if ln.get_marker() == "o"]
        assert shown.get_xdata()[0] == scale
        assert list(lower.lines[-1].get_ydata()) == [0.22, 0.22]
        # A slider's pictures share their axes.
        assert upper.get_ylim() == pytest.approx((-1.9 * 1.05, 1.9 * 1.05))
    assert "loss 0.215 in the mean over 2 draws, within the 0.22 allowed" in seen[0.1]
    assert "loss 0.65 in the mean over 2 draws, more than the 0.22 allowed" in seen[0.3]
