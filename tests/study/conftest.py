import shutil

import pytest

from lotterylib.study import Store
from tests.study.helpers import PROFILE, complete


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    return complete(PROFILE, Store(tmp_path_factory.mktemp("study") / "store"))


@pytest.fixture
def finished(template, tmp_path):
    """The store of a finished study, to be damaged."""
    shutil.copytree(template.root, tmp_path / "store")
    return Store(tmp_path / "store")
