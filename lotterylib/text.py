"""Numbers, durations, tables and foreign words as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal


def duration(seconds: float) -> str:
    """Return a length of time in the unit that suits it.

    >>> duration(0.2), duration(600), duration(9000)
    ('1 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def signed(number: float, form: str = ".3g") -> str:
    """Return a number with its sign, a minus as wide as a plus.

    >>> signed(-1.72), signed(0.5, ".2f")
    ('−1.72', '+0.50')
    """
    return format(number, f"+{form}").replace("-", "−")


def percent(sparsity: float) -> str:
    """Return a sparsity as the book writes it.

    >>> percent(0.8926258), percent(0.36)
    ('89.3%', '36%')
    """
    return f"{100 * sparsity:.3g}%"


def short(value: float) -> str:
    """Return a number in three digits that count, without an exponent.

    >>> short(0.5), short(13_430), short(0.0000641)
    ('0.5', '13,400', '0.0000641')
    """
    written = f"{value:.3g}"
    return f"{Decimal(written):,f}" if "e" in written else written


def opening(words: str) -> str:
    """Return words as a sentence begins, with the rest as it is.

    Example:
        >>> opening("lottery tickets by GraSP"), opening("SNIP")
        ('Lottery tickets by GraSP', 'SNIP')
    """
    return words[:1].upper() + words[1:]


def amount(number: float, unit: str = "") -> str:
    """Return three digits of a number, with a prefix.

    >>> amount(12_345_678), amount(640, "B"), amount(0)
    ('12.3 M', '640 B', '0')
    """
    prefixes = ["", "k", "M", "G", "T", "P", "E"]
    while number >= 999.5 and len(prefixes) > 1:
        number /= 1000
        del prefixes[0]
    return f"{number:.3g} {prefixes[0]}{unit}".strip()


def plain(number: float, digits: int = 3) -> str:
    """Return a number of so many digits without an exponent, which few readers can take in.

    >>> plain(2.05e-5), plain(24_310.0), plain(1.27e10), plain(-0.5)
    ('0.0000205', '24,300', '12.7 billion', '−0.5')
    """
    sizes = (1e12, " trillion"), (1e9, " billion"), (0, "")
    size, word = next(each for each in sizes if abs(number) >= each[0])
    return f"{Decimal(f'{number / (size or 1):.{digits}g}'):,f}{word}".replace("-", "−")


def table(rows: Sequence[Sequence[object]], left: Sequence[int] = (0,)) -> str:
    """Return rows in columns, those at ``left`` flush left, the others flush right.

    >>> print(table([("name", "n"), ("a", 10)]))
    name   n
    a     10
    """
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            f"{value!s:<{w}}" if i in left else f"{value!s:>{w}}"
            for i, (value, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return foreign text with its control characters written out, so that no terminal obeys them.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
