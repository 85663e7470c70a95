"""From a profile to records: what to compute, where it is kept, and who computes it.

Importing this needs neither Dask nor a GPU; ``scheduler`` does, and is imported when a study runs.
"""

# in the order in which the reference lists them: what is called comes before what it is made of
# isort: off
from .profile import Live, Profile, load_profile, profile_names
from .lookup import beside, controls, family, outstanding, records, state, table, ticket, tickets
from .cells import Cell, expand
from .store import Store
# isort: on

__all__ = [
    "Cell",
    "Live",
    "Profile",
    "Store",
    "beside",
    "controls",
    "expand",
    "family",
    "load_profile",
    "outstanding",
    "profile_names",
    "records",
    "state",
    "table",
    "ticket",
    "tickets",
]
