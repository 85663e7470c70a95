"""Sphinx extension: entries of the bibliography are labelled as the text cites them, by authors and year."""

from __future__ import annotations

from collections import Counter

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle


class AuthorYear(BaseLabelStyle):
    """ "Frankle & Carbin, 2019" for two authors, "Chen et al., 2022" for more; a letter where two would be the same."""

    def format_labels(self, sorted_entries):
        plain = [_label(entry) for entry in sorted_entries]
        counts, seen = Counter(plain), Counter()
        for label in plain:
            seen[label] += 1
            yield label + (chr(96 + seen[label]) if counts[label] > 1 else "")


def _label(entry) -> str:
    names = [" ".join([*p.prelast_names, *p.last_names]).strip("{}") for p in entry.persons["author"]]
    who = " & ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{who}, {entry.fields['year']}"


class AuthorYearStyle(Style):
    default_label_style = AuthorYear
    default_sorting_style = "author_year_title"


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
