"""Every notebook runs unchanged under a tiny profile that extends `imagenet`."""

import pytest

from tests.families.running import every_notebook, printed, study_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]
study = study_of("imagenet")


@every_notebook
def test_it_runs(study, path):
    executed = study.run(path)
    if path.stem == "quickstart":
        assert "ImageNet: " in printed(executed)
