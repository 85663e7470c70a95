"""Two states of the code have two names."""

import subprocess

import pytest

from lotterylib.machine import revision as module


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    package = tmp_path / "lotterylib"
    for name in ("machine/revision.py", "reference/records.jsonl"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("1\n")
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a commit -qm a"):
        subprocess.run(["git", "-C", tmp_path, *words.split()], check=True)
    monkeypatch.setattr(module, "__file__", str(package / "machine" / "revision.py"))
    return package


def named() -> str:
    module.revision.cache_clear()
    try:
        return module.revision()
    finally:
        module.revision.cache_clear()


def test_uncommitted_changes_are_named_by_a_digest_of_the_difference(checkout):
    code = checkout / "machine" / "revision.py"
    clean = named()
    assert "dirty" not in clean
    (checkout / "reference" / "records.jsonl").write_text("2\n")
    assert named() == clean
    names = []
    for content in ("2\n", "3\n"):
        code.write_text(content)
        names.append(named())
    (checkout / "new.py").write_text("1\n")
    names.append(named())
    (checkout / "new.py").write_text("2\n")
    names.append(named())
    assert len(set(names)) == 4 and all(name.startswith(f"{clean}-dirty-") for name in names)
    code.write_text("2\n")
    (checkout / "new.py").unlink()
    assert named() == names[0]
