import pytest

from tests.publish.sample_book import shared_site


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Folder of the built sample book; tests must not change it."""
    return shared_site(tmp_path_factory.getbasetemp())
