"""Registries: name → class, of metrics, pruners, data sets and models. Built-in classes register where they are
defined, a notebook's with ``@register``, an installed package's by an entry point of the group ``lotterylib.<kind>s``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import SettingError, UnknownNameError, first_problem, one_line
from .files import component

T = TypeVar("T")
# the class itself, which decorating leaves as it is
E = TypeVar("E")
M = TypeVar("M", bound=BaseModel)


class Registry(Generic[T]):
    """The classes of one kind, in the order in which they registered.

    Args:
        kind: What messages call one of them, e.g. ``"data set"``.
        group: The entry points that name more of them, e.g. ``"lotterylib.datasets"``.
        name_of: Gives the name under which a class registers.

    Example:
        >>> shapes = Registry("shape", "lotterylib.shapes", name_of=lambda cls: cls.name)
        >>> @shapes.register
        ... class Square:
        ...     name = "square"
        >>> shapes.names(), shapes["square"] is Square
        (['square'], True)
    """

    def __init__(self, kind: str, group: str, name_of: Callable[[T], str]):
        self.kind, self.group, self.name_of = kind, group, name_of
        self._known: dict[str, T] = {}
        self._looked = False

    def register(self, entry: E) -> E:
        """Add a class under its name; usable as a decorator. A class of the same module and qualified name takes the
        place of its earlier self, as when a notebook's cell runs twice.

        Raises:
            SettingError: if the name is another class's already, or is no harmless part of a path, which it becomes.
        """
        added: Any = entry
        name = component(self.name_of(added), self.kind)
        held = self._known.get(name)
        if held is not None and _home(held) != _home(entry):
            raise SettingError(
                f"there is a {self.kind} {name!r} already ({'.'.join(_home(held))}): choose another name"
            )
        self._known[name] = added
        return entry

    def names(self) -> list[str]:
        """Return all names, built-in ones first."""
        self._look_outside()
        return list(self._known)

    def __getitem__(self, name: str) -> T:
        """Return the class of a name.

        Raises:
            UnknownNameError: with the nearest name, if there is none.
        """
        if name not in self._known:
            self._look_outside()
        if name not in self._known:
            raise UnknownNameError(self.kind, name, self._known)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def _look_outside(self) -> None:
        """Load the entry points of installed packages, once; a broken one is left out, with a warning."""
        if self._looked:
            return
        self._looked = True
        for point in metadata.entry_points(group=self.group):
            try:
                found: T = point.load()
                # a module has registered what it holds by being imported
                if isinstance(found, type) and self.name_of(found) not in self._known:
                    self.register(found)
            # another package's code may raise anything
            except Exception as error:
                package = point.dist.name if point.dist else point.value
                reason = one_line(error, named=True)
                warnings.warn(f"{self.kind} {point.name!r} of {package} is left out: {reason}", stacklevel=2)


def configured(kind: str, cls: type[M], settings: dict[str, Any]) -> M:
    """Return an object of a registered class with its settings.

    Raises:
        SettingError: for a setting that it does not have, or an impossible value.
    """
    if unknown := sorted(settings.keys() - cls.model_fields.keys()):
        has = ", ".join(sorted(cls.model_fields)) or "none"
        raise SettingError(f"{kind} has no setting {unknown[0]!r}: it has {has}")
    try:
        return cls(**settings)
    except ValidationError as error:
        raise SettingError(f"{kind}: {first_problem(error)}") from None


def _home(entry: object) -> tuple[str, str]:
    return getattr(entry, "__module__", ""), getattr(entry, "__qualname__", repr(entry))
