"""Every notebook runs unchanged under a tiny profile that extends `cifar100`."""

import pytest

from tests.families.running import notebooks_under, printed, study_of

pytestmark = pytest.mark.timeout(600)
study = study_of("cifar100")


@notebooks_under("cifar100")
def test_it_runs(study, path):
    executed = study.run(path)
    if path.stem == "quickstart":
        assert "cifar100: " in printed(executed)
