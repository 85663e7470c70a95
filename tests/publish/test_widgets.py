"""The scripts of widgets: locked, checked, fetched once, and not a reason to have no book."""

import io
import json
import tarfile

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lotterylib.publish import widgets
from lotterylib.publish.errors import WidgetError
from lotterylib.publish.widgets import LOCK, STATE, VIEW, add_scripts, fetch, has_widgets, integrity


def notebook(live: bool):
    shown = new_output("display_data", {VIEW: {"model_id": "a"}, "text/plain": "IntSlider(value=0)"})
    page = new_notebook(cells=[new_code_cell("slider", outputs=[shown])])
    if live:
        page.metadata["widgets"] = {STATE: {"state": {"a": {"model_name": "IntSliderModel"}}}}
    return page


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def entry(packed: bytes) -> dict:
    files = {"deep/script.js": "script.js"}
    return {"package": "@a/b", "version": "1.0.0", "integrity": integrity(packed), "files": files}


def test_the_lock_names_versions_and_checksums():
    for one in json.loads(LOCK.read_text()):
        assert one["integrity"].startswith("sha512-") and len(one["integrity"]) == 95
        assert one["version"].count(".") == 2 and one["files"]


def test_a_package_is_fetched_once(monkeypatch, tmp_path):
    packed, asked = archive(**{"script.js": b"// hello"}), []
    monkeypatch.setattr(widgets, "pack", lambda package: asked.append(package) or packed)
    for _ in range(2):
        assert fetch(entry(packed), tmp_path) == {"deep/script.js": b"// hello"}
    assert asked == ["@a/b@1.0.0"]


def test_a_damaged_cache_is_fetched_again_and_a_strange_package_refused(monkeypatch, tmp_path):
    packed = archive(**{"script.js": b"// hello"})
    (tmp_path / "@a-b@1.0.0.tgz").write_bytes(b"half a file")
    monkeypatch.setattr(widgets, "pack", lambda package: packed)
    assert fetch(entry(packed), tmp_path)["deep/script.js"] == b"// hello"
    strange = {**entry(packed), "integrity": integrity(b"another")}
    with pytest.raises(
        WidgetError, match=r"@a/b@1.0.0 from npm is not what widgets.json has the checksum of"
    ):
        fetch(strange, tmp_path)


def test_without_npm_the_message_says_so(monkeypatch):
    monkeypatch.setattr(widgets.shutil, "which", lambda name: None)
    with pytest.raises(WidgetError, match=r"need npm \(part of Node.js\) once, to fetch two scripts"):
        widgets.pack("a@1.0.0")


def test_without_scripts_the_page_is_still_there(monkeypatch, tmp_path, capsys):
    def fail(entry):
        raise WidgetError("no network")

    monkeypatch.setattr(widgets, "fetch", fail)
    live, other = notebook(live=True), notebook(live=False)
    add_scripts([live, other], tmp_path / "w")
    assert capsys.readouterr().err == "warning: no network; sliders are left out of 1 page(s)\n"
    assert not has_widgets(live) and not (tmp_path / "w").exists()
    (output,) = live.cells[0].outputs
    assert (
        set(output.data) == {"text/markdown", "text/plain"}
        and "figure beside it" in output.data["text/plain"]
    )


def test_pages_without_widgets_ask_for_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(widgets, "fetch", lambda entry: pytest.fail("nobody asked"))
    add_scripts([notebook(live=False)], tmp_path / "w")
    assert not (tmp_path / "w").exists()
