"""Every notebook runs unchanged under a tiny profile that extends `cifar10`."""

import pytest

from tests.families.running import every_notebook, printed, study_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]
study = study_of("cifar10")


@every_notebook
def test_it_runs(study, path):
    executed = study.run(path)
    if path.stem == "quickstart":
        assert "CIFAR-10: " in printed(executed)
