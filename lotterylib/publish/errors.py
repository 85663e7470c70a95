"""All that can go wrong between the notebooks and the site; each message says where, and what would be right."""

from __future__ import annotations

from ..errors import LotteryError


class PublishError(LotteryError):
    """The book could not be made; the site of the last success, if any, is untouched."""


class NotebookError(PublishError, ValueError):
    """A notebook that must not be run as it stands."""


class StageError(PublishError, ValueError):
    """An executed notebook that the book cannot show as it stands."""


class SiteError(PublishError):
    """The strict build of the site failed."""


class WidgetError(PublishError):
    """The scripts that widgets need could not be had."""
