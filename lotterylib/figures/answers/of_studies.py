"""What a study found as a whole: the answers of the landing page and of the pages on the verdict."""

from __future__ import annotations

import pandas as pd

from ... import metrics
from ...results import setting_name
from ...text import opening, percent
from ...verdict import lth_pass, passes, together
from ..drawing import by_setting
from ..style import called
from .box import Answer, join_studies
from .judged import DIMENSIONS, by_study, first_losses, headline, judge_study, leader, with_rival
from .of_metrics import not_judged
from .wording import WORDS, is_or_are, limit_in_words, listing, reach, sign_of, write_difference

# What an interval of 95% leaves on its good side.
_LUCK = 0.025
# Of more metrics than these a tile gives the number.
_NAMED = 2


def tale(table: pd.DataFrame) -> Answer:
    """Tell the study in two sentences or three: what the sparsest accurate lottery ticket is, beside dense, and how many tickets keep
    everything. "Better" is said where the interval of the difference leaves out zero, "worse" of what is certainly lost, and
    what is undecided is called so. The third says how many were trained once.

    Example:
        >>> from lotterylib.results import example
        >>> tale(example()).sentences[1][:38]
        'Of 3 pruned networks, 1 certainly keep'
    """
    return join_studies([[f"{where}{s}" for s in _tale(table, rows)] for where, rows in by_study(table)])


def _tale(table: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    pruner = leader(judged)
    level, _ = headline(judged, pruner)
    at = judged.loc[(judged.pruner == pruner) & ((judged.sparsity - level).abs() < 1e-6)]
    at = _worst_off(at)
    sides, kept, open_ = at.side, at.verdict == "pass", at.verdict == "undecided"
    # an accuracy that is kept is told with its difference
    behind = (sides < 0) & ~(kept & (at.metric == "accuracy"))
    good, worse = _told(at[kept & ~behind], kept=True), _told(at[at.verdict == "fail"])
    slightly, unknown = _told(at[open_ & behind]), _told(at[open_ & ~behind])
    told = ", but ".join(listing(words) for words in (good, worse) if words)
    said = f"With {percent(level)} of the weights removed, {is_or_are(pruner)} "
    said += f"{told or 'in nothing certainly better or worse than the dense network'}{_over_same_weights(table, at)}."
    for widened, rows in at[kept & behind].groupby("widened"):
        if forgiven := _told(rows):
            said += f" They are {listing(forgiven)}, by less than {limit_in_words(bool(widened))}."
    if slightly:
        said += f" They are {listing(slightly)}, perhaps within the tolerance."
    if unknown:
        said += f" Undecided is whether they are {listing(unknown, 'or')}."
    here = table[(table.dataset == at.dataset.iloc[0]) & (table.model == at.model.iloc[0])]
    if left := not_judged(here):
        said += f" {left}"
    whole = lth_pass(here)
    counts = whole.lth_pass.value_counts()
    once = int((judged.groupby(["pruner", "sparsity"]).seeds.max() == 1).sum())
    alone = []
    if once > 0 and len(whole) > 1:
        alone = [
            f"{once} of these were trained once: what is certain is so of that training, not yet of the method."
        ]
    return [
        said,
        f"Of {len(whole)} pruned networks, {counts.get('pass', 0) or 'none'} certainly keep all {judged.metric.nunique()} metrics, "
        f"{counts.get('fail', 0)} certainly lose one or more, and of {counts.get('undecided', 0)} the study cannot tell.",
        *alone,
    ]


def _worst_off(at: pd.DataFrame) -> pd.DataFrame:
    """Add ``side``, the sign of each row's difference, +1 certainly better; of metrics with the same words keep the one with the
    worst verdict, and of several those that are certainly worse before those that are certainly better."""
    about = [metrics.describe(str(m)) for m in at.metric]
    sides = [sign_of(low, high, a.direction) for a, low, high in zip(about, at.low, at.high, strict=True)]
    # a metric without words shares none
    words = [a.words[1] or a.name for a in about]
    found = at.assign(
        side=sides, words=words, rank=at.verdict.map(list(WORDS).index), behind=[s < 0 for s in sides]
    )
    worst_first = found.sort_values(by=["rank", "behind", "side"], ascending=False, kind="stable")
    return worst_first.drop_duplicates("words").sort_index()


def _over_same_weights(table: pd.DataFrame, at: pd.DataFrame) -> str:
    """Say how curved the loss is over the weights that both networks have, where the records know it of tickets ``at`` one
    sparsity: the paper's measure counts fewer weights of the sparser network."""
    where = (table.pruner == at.pruner.iloc[0]) & ((table.sparsity - at.sparsity.iloc[0]).abs() < 1e-6)
    where &= (table.dataset == at.dataset.iloc[0]) & (table.model == at.model.iloc[0])
    wide = table[where].pivot_table(index="seed", columns="metric", values="value")
    if not {"hessian_trace", "hessian_trace:control"} <= set(wide):
        return ""
    ratios = (wide["hessian_trace"] / wide["hessian_trace:control"]).dropna()
    return (
        f"; over the same weights their loss is {ratios.mean():.2g} times as curved as the dense network's"
        if len(ratios)
        else ""
    )


def _told(at: pd.DataFrame, *, kept: bool = False) -> list[str]:
    """Return words for metrics: where they are ``kept``, of those that are certainly better than dense; else what worse is."""
    words = []
    for row in at.itertuples():
        about = metrics.describe(str(row.metric))
        word = about.words[0 if kept else 1]
        if about.name == "accuracy":
            better = (
                "more accurate than" if sign_of(row.low, row.high, about.direction) > 0 else "as accurate as"
            )
            word = f"{better if kept else 'less accurate than'} the dense network ({write_difference(row, about)})"
        elif kept and sign_of(row.low, row.high, about.direction) <= 0:
            word = ""
        if word:
            words.append((metrics.names().index(about.name), word))
    return [w for _, w in sorted(words)]


def better_than_dense(table: pd.DataFrame) -> Answer:
    """Answer which pruned networks are better than the dense one: certainly so in every metric, or in some while none is lost;
    and how many comparisons chance alone decides so.

    Example:
        >>> from lotterylib.results import example
        >>> print(better_than_dense(example()))
        Certainly better than the dense network in all 2 metrics: none of 3 pruned networks. Certainly
        better in some, and certainly lost in none: none. Of 6 comparisons, chance alone makes up to 0.15 look
        certainly better.
    """
    said = [f"{where}{_better(table, rows)}" for where, rows in by_study(table)]
    return join_studies([[s] for s in said])


def _better(table: pd.DataFrame, judged: pd.DataFrame) -> str:
    key = ["pruner", "sparsity"]
    here = table[(table.dataset == judged.dataset.iloc[0]) & (table.model == judged.model.iloc[0])]
    won = passes(here, strict=True).groupby(key).verdict.agg(lambda found: (found == "pass").sum())
    lost = judged.groupby(key).verdict.agg(lambda found: (found == "fail").sum())
    won, count = won.loc[lost.index], judged.metric.nunique()
    whole = won.index[won == count]
    part = won[(won > 0) & (won < count) & (lost == 0)]
    said = (
        f"Certainly better than the dense network in all {count} metric{'s' * (count > 1)}: "
        f"{_networks_named(whole) or 'none'} of {len(won)} pruned networks. Certainly better in some, and certainly lost in none: "
    )
    chance = f"Of {len(judged):,} comparisons, chance alone makes up to {_LUCK * len(judged):.2g} look certainly better."
    if part.empty:
        return f"{said}none. {chance}"
    most = part.index[part == part.max()]
    foremost = "foremost" if (part < part.max()).any() else "namely"
    each = "each " * (len(most) > 1)
    return f"{said}{len(part)}, {foremost} {_networks_named(most)} ({each}better in {part.max()}). {chance}"


def _networks_named(which: pd.Index) -> str:
    return listing(f"{called(p)} at {percent(s)}" for p, s in which) if len(which) else ""


def alike(table: pd.DataFrame) -> Answer:
    """Say how far two studies agree: on the same method, sparsity and metric, where both are certain and judge by the same kind
    of limit, and which verdicts contradict each other. Nothing is said of one study.

    Example:
        >>> from lotterylib.results import example
        >>> print(alike(pd.concat([example(), example().assign(dataset="cifar10")])))
        LeNet on CIFAR-10 and LeNet on scikit-learn's digits share 6 verdicts: same method, sparsity and
        metric, same kind of limit. In 6 both are certain: 6 agree.
    """
    settings = by_setting(judge_study(table))
    if len(settings) < 2:
        return Answer(())
    one, other = (rows.assign(sparsity=rows.sparsity.round(3)) for _, _, rows in settings[:2])
    both = one.merge(other, on=["pruner", "sparsity", "metric"], suffixes=("", "_other"))
    # a limit that one study has widened to what a retraining costs forgives what the other's does not
    unlike = both[both.widened != both.widened_other]
    both = both.drop(index=unlike.index)
    sure = both[(both.verdict != "undecided") & (both.verdict_other != "undecided")]
    differ = sure[sure.verdict != sure.verdict_other]
    first, second = (setting_name(m, d) for d, m, _ in settings[:2])
    said = (
        f"{first} and {second} share {len(both)} verdicts: same method, sparsity and metric, same kind of limit. "
        f"In {len(sure)} both are certain"
    )
    if len(sure):
        said += f": {len(sure) - len(differ)} agree"
    if len(differ):
        kept = differ.verdict.map({"pass": first, "fail": second})
        counts = pd.concat([differ.metric, kept], axis=1).value_counts(sort=False).items()
        where = listing(f"{metrics.describe(str(m)).short} ({n}, kept only by {k})" for (m, k), n in counts)
        said += f" and {len(differ)} do not: {where}"
    if len(unlike):
        named = listing(metrics.describe(m).short for m in unlike.metric.unique())
        said += (
            f". Not compared are {len(unlike)} more, of {named}: only one of the studies has trained enough dense networks to "
            "know what a retraining changes, and allows as much"
        )
    return Answer((f"{said}.",))


def tiles(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return what is kept of each dimension, all of its metrics together: dimension → sentences on lottery tickets ("lead"), on
    random pruning ("beside"), and on the first of them sparsity by sparsity ("steps"). Of the first setting of the table.

    Example:
        >>> from lotterylib.results import example
        >>> tiles(example())["calibration"]["lead"]
        'Lottery tickets: kept at every sparsity; at 50%, 1 of 1 metrics kept.'
    """
    found = by_study(table)
    return {d: _tile(found[0][1] if found else None, d) for d in DIMENSIONS}


def _tile(judged: pd.DataFrame | None, dimension: str) -> dict[str, str]:
    rows = pd.DataFrame() if judged is None else judged.loc[judged.dimension == dimension]
    if judged is None or rows.empty:
        return {"lead": "Not measured under this profile.", "beside": "", "steps": ""}
    lead = leader(judged)
    level, _ = headline(judged, lead)
    at = rows.loc[(rows.pruner == lead) & ((rows.sparsity - level).abs() < 1e-6)]
    kept = f"at {percent(level)}, {(at.verdict == 'pass').sum()} of {len(at)} metrics kept"
    open_ = [metrics.describe(str(m)).short for m in at.metric[at.verdict == "undecided"]]
    if open_:
        kept += f", {len(open_) if len(open_) > _NAMED else listing(open_)} undecided"
    said = [_as_a_whole(rows, p) for p in with_rival(judged, lead)]
    return {
        "lead": f"{said[0].removesuffix('.')}; {kept}.",
        "beside": said[1] if len(said) > 1 else "This study has no random pruning.",
        "steps": _steps(rows.loc[rows.pruner == lead]),
    }


def _steps(rows: pd.DataFrame) -> str:
    counts = rows.groupby("sparsity").verdict.value_counts().unstack(fill_value=0)
    told = (
        f"{percent(float(str(level)))}: "
        + ", ".join(f"{count[v]} {word}" for v, word in WORDS.items() if count.get(v, 0))
        for level, count in counts.iterrows()
    )
    return f"Of {rows.metric.nunique()} metrics, {'; '.join(told)}."


def _as_a_whole(rows: pd.DataFrame, pruner: str) -> str:
    of = rows.loc[rows.pruner == pruner]
    whole = of.groupby("sparsity").verdict.agg(together)
    told = f"{opening(called(pruner))}: {reach(list(whole.index), list(whole))}"
    first = first_losses(of)
    return f"{told}, first in {first}." if first else f"{told}."
