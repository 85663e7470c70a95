"""Registries, and the packages that take part in them from outside."""

import sys

import pytest

from lotterylib.errors import SettingError, UnknownNameError
from lotterylib.registry import Registry


@pytest.fixture
def shapes():
    return Registry("shape", "lotterylib.shapes", name_of=lambda cls: cls.name)


def install(folder, monkeypatch, package, points, **modules):
    """Make a distribution with entry points importable."""
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lotterylib.shapes]\n" + points)
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)


def test_a_broken_package_is_one_warning_and_the_others_take_part(shapes, tmp_path, monkeypatch):
    install(
        tmp_path,
        monkeypatch,
        "round-things",
        "ball = ball_of_a_test:Ball\ntorn = torn_of_a_test\nlost = ball_of_a_test:Lost\nbare = ball_of_a_test:Bare\n",
        ball_of_a_test="class Ball:\n    name = 'ball'\nclass Bare:\n    pass\n",
        torn_of_a_test="raise RuntimeError('torn\\napart')\n",
    )
    with pytest.warns(UserWarning) as warned:
        assert shapes.names() == ["ball"]
    lines = sorted(str(w.message) for w in warned)
    assert [line.partition(" is left out: ")[0] for line in lines] == [
        f"shape {name!r} of round-things" for name in ("bare", "lost", "torn")
    ]
    assert lines[2].endswith("RuntimeError torn apart") and "Lost" in lines[1]
    assert shapes["ball"].name == "ball"
    with pytest.raises(UnknownNameError, match="unknown shape 'torn'"):
        shapes["torn"]


def test_a_name_belongs_to_one_class(shapes):
    def square():
        class Square:
            name = "square"

        return Square

    first, again = shapes.register(square()), shapes.register(square())
    assert first is not again and shapes["square"] is again
    other = type("Other", (), {"name": "square"})
    with pytest.raises(SettingError, match="there is a shape 'square' already"):
        shapes.register(other)
    with pytest.raises(SettingError, match="want at most 60 letters"):
        shapes.register(type("Up", (), {"name": "../up"}))
