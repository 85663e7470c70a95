"""Every notebook runs unchanged where a study has one pruner and one sparsity only, and on a GPU: an emulated one, which refuses to
mix its tensors with the processor's."""

import pytest

from tests.families.running import quick_or_long, study_of

pytestmark = pytest.mark.timeout(600)
study = study_of("few", gpu=True)


@quick_or_long
def test_it_runs(study, path):
    study.run(path)
