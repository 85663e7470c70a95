"""Every notebook runs unchanged under a tiny profile that extends `cifar10`."""

import pytest

from tests.families.running import notebooks_under, printed, study_of

pytestmark = pytest.mark.timeout(600)
study = study_of("cifar10")


@notebooks_under("cifar10")
def test_it_runs(study, path):
    executed = study.run(path)
    if path.stem == "quickstart":
        assert "cifar10: " in printed(executed)
