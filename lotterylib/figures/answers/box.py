"""The box on a page that holds an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate

# Where a sentence ends and another begins, and how many a study may have in full.
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z0-9])")
_SHORT = 2


@dataclass(frozen=True)
class Answer:
    """Sentences that a notebook shows: a box on a page of the book, plain text elsewhere. Where a study's are more than two, the
    box shows the first and folds the rest. ``source``: what they rest on; ``starts``: at which of them a study begins.
    """

    sentences: tuple[str, ...]
    source: str = "the records"
    starts: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return " ".join(self.sentences)

    __repr__ = __str__

    def add(self, sentence: str, *, shown: bool = False) -> Answer:
        """Return the answer with one more sentence at its end; ``shown``: not folded with those before it.

        >>> Answer(("It is.",)).add("But look twice.", shown=True)
        It is. But look twice.
        """
        starts = (*self.starts, len(self.sentences)) if shown else self.starts
        return replace(self, sentences=(*self.sentences, sentence), starts=starts)

    def _repr_html_(self) -> str:
        ends = (*self.starts[1:], len(self.sentences))
        box = "".join(
            _folded(self.sentences[i:end]) for i, end in zip(self.starts, ends, strict=True) if i < end
        )
        box = box.replace("<p>", f"<p><strong>Answer from {escape(self.source)}.</strong> ", 1)
        return f'<div class="answer" role="note">{box}</div>'


def _folded(sentences: Sequence[str]) -> str:
    """Write what is said of one study as HTML: if it is long, what follows its first sentence opens on a click."""
    first, *others = _SENTENCE.split(sentences[0])
    if first.endswith("?") and others:
        # a question without its answer says nothing
        first = f"{first} {others.pop(0)}"
    if len(others) + sum(len(_SENTENCE.split(s)) for s in sentences[1:]) < _SHORT:
        return _paragraphs(sentences)
    rest = _paragraphs([*([" ".join(others)] if others else []), *sentences[1:]])
    return f"{_paragraphs([first])}<details><summary>The rest of this answer</summary>{rest}</details>"


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(s)}</p>" for s in sentences)


def join_studies(said: Sequence[Sequence[str]]) -> Answer:
    """Return the answer that says of one study after the other its sentences."""
    *starts, _ = accumulate(map(len, said), initial=0)
    return Answer(tuple(s for sentences in said for s in sentences), starts=tuple(starts))
