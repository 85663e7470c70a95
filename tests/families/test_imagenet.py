"""Every notebook runs unchanged under a tiny profile that extends `imagenet`."""

import pytest

from tests.families.running import notebooks_under, printed, study_of

pytestmark = pytest.mark.timeout(600)
study = study_of("imagenet")


@notebooks_under("imagenet")
def test_it_runs(study, path):
    executed = study.run(path)
    if path.stem == "quickstart":
        assert "imagenet: " in printed(executed)
