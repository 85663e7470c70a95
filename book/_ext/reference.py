"""Sphinx extension: the reference of a package, from its docstrings.

``.. reference:: lotterylib.masks`` documents the package and each public module below it: what a module defines itself, in
the order of its source. Modules come in the order in which the package imports them, so a package says what its page begins
with; a new module is part of the page without an edit.
"""

from __future__ import annotations

import ast
import dataclasses
import pkgutil
import re
import sys
from enum import EnumMeta
from fractions import Fraction
from functools import reduce
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.ext.autodoc.preserve_defaults import DefaultValue
from sphinx.util import inspect
from sphinx.util.docutils import SphinxDirective

# What pydantic adds to every class is no part of it.
NOISE = "model_config, model_post_init, model_fields, model_fields_set, model_computed_fields, model_extra"
OPTIONS = ("members:", "ignore-module-all:", "member-order: bysource", f"exclude-members: {NOISE}")
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
LITERAL = re.compile(r"(``.+?``)")


class Reference(SphinxDirective):
    """Each module under a title of its own; where one package has the page, its name is the page's title.

    A title is the last part of a name, for the page's contents have room for no more; the whole name stands below it.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        names = self.arguments[0].split()
        parts = []
        for module in (module for name in names for module in modules(name)):
            lines = [f".. automodule:: {module}", *(f"   :{option}" for option in OPTIONS), ""]
            part = nodes.Element() if [module] == names else _titled(module)
            self.state.nested_parse(StringList(lines, module), 0, part)
            # no title over a package that only hands on what its modules define
            if [module] == names or any(part.findall(addnodes.desc)):
                parts += part.children if [module] == names else [part]
        return parts


def _titled(module: str) -> nodes.section:
    title, name = module.rpartition(".")[2], nodes.literal("", module)
    return nodes.section(
        "", nodes.title("", title), nodes.paragraph("", "", name), ids=[nodes.make_id(module)]
    )


def modules(name: str) -> list[str]:
    """Return the name of a module and, of a package, those of the public modules below it: in the order in which it imports
    them, and then what these are made of."""
    spec = find_spec(name)
    found = []
    for entry in pkgutil.iter_modules(spec.submodule_search_locations or (), f"{name}."):
        if not entry.name.rpartition(".")[2].startswith("_"):
            found += modules(entry.name)
    imported = _imported(name, Path(spec.origin).read_text("utf-8")) if found else []
    return [name, *sorted(found, key=lambda module: _place(module, imported))]


def _imported(package: str, source: str) -> list[str]:
    """Return the names of the modules that a package imports from itself, in order."""
    found = []
    for line in ast.parse(source).body:
        if isinstance(line, ast.ImportFrom) and line.level == 1:
            found += [line.module] if line.module else [one.name for one in line.names]
    return [f"{package}.{one}" for one in found]


def _place(module: str, imported: list[str]) -> int:
    """Return where a module, or the package around it, stands among these names; the end if it does not."""
    return next(
        (place for place, name in enumerate(imported) if f"{module}.".startswith(f"{name}.")), len(imported)
    )


def keep_colons(app, what, name, obj, options, lines) -> None:
    """Let the first line of a property be a sentence: napoleon would take what stands before its colon for a type."""
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[0] = f": {lines[0]}"


def keep_bars(app, what, name, obj, options, lines) -> None:
    """Let ``|θ|`` be an absolute value: to docutils it would be a substitution."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = LITERAL.split(line)
            lines[number] = "".join(p if p.startswith("``") else p.replace("|", "\\|") for p in parts)


def drop_constructor(app, what, name, obj, options, signature, returned):
    """Say nothing of how an enumeration is called: that is Enum's own, and nobody makes further members."""
    return ("", returned) if isinstance(obj, EnumMeta) else None


def inherit_types(app, what, name, obj, options, signature, returned):
    """Show a method that repeats no types with those of the method that it overrides."""
    if what != "method" or not signature:
        return None
    *owner, method = obj.__qualname__.split(".")
    kind = reduce(getattr, owner, sys.modules[obj.__module__])
    own = _typed(obj)
    overridden = (vars(base).get(method) for base in kind.__mro__[1:])
    above = next((f for f in overridden if "return" in getattr(f, "__annotations__", {})), None)
    if above is None or own.return_annotation is not own.empty:
        return None
    theirs = _typed(above)
    types = {one.name: one.annotation for one in theirs.parameters.values()}
    parameters = [
        one.replace(annotation=types.get(one.name, one.annotation)) for one in own.parameters.values()
    ]
    parts = own.replace(parameters=parameters), theirs.replace(parameters=[])
    shown = [inspect.stringify_signature(part, unqualified_typehints=True) for part in parts]
    return shown[0], shown[1].partition(" -> ")[2] or returned


def _typed(method):
    return inspect.signature(method, bound_method=True)


def shorten(app, what, name, obj, options, signature, returned):
    """Show types and defaults of fields as one would write them: no checks, no ``<factory>``, 8/255 for 0.0313725…"""
    if what != "class" or not (dataclasses.is_dataclass(obj) or hasattr(obj, "model_fields")):
        return None
    written = getattr(obj, "__signature__", None) or inspect.signature(obj.__init__, bound_method=True)
    fields = getattr(obj, "__dataclass_fields__", {})
    parameters = [
        one.replace(annotation=unchecked(one.annotation), default=readable(one.default, fields.get(one.name)))
        for one in written.parameters.values()
    ]
    short = written.replace(parameters=parameters)
    return inspect.stringify_signature(
        short, show_return_annotation=False, unqualified_typehints=True
    ), returned


def unchecked(hint):
    """Return a type without what pydantic checks of its values."""
    if get_origin(hint) is Annotated:
        return unchecked(hint.__origin__)
    parts = [unchecked(part) for part in get_args(hint)]
    if parts == list(get_args(hint)):
        return hint
    return reduce(or_, parts) if get_origin(hint) in (Union, UnionType) else get_origin(hint)[tuple(parts)]


def readable(default, field=None):
    """Return a default whose repr is what one would write."""
    if field and field.default_factory is not dataclasses.MISSING:
        made = field.default_factory
        return DefaultValue({list: "[]", dict: "{}"}.get(made, f"{made.__name__}()"))
    if isinstance(default, float) and len(repr(default)) > 8:
        share = Fraction(default).limit_denominator(1000)
        return DefaultValue(str(share)) if float(share) == default else default
    return default


def name_limits(app, what, name, obj, options, lines) -> None:
    """Say which numbers a setting may be: its type does not."""
    if what != "class" or not hasattr(obj, "model_fields"):
        return
    hints = {
        field: Annotated[(known.annotation, *known.metadata, None)]
        for field, known in obj.model_fields.items()
    }
    found = {field: " and ".join(limits(hint)) for field, hint in hints.items()}
    said = [
        f"{'each of ' if get_origin(unchecked(hints[field])) in (list, tuple) else ''}``{field}`` {limit}"
        for field, limit in found.items()
        if limit
    ]
    if said:
        lines += ["", f"Limits: {'; '.join(said)}.", ""]


def limits(hint) -> list[str]:
    """Return the limits of the numbers in a type, such as "≥ 0" and "< 1"."""
    metadata = getattr(hint, "__metadata__", ())
    checks = [check for one in metadata for check in getattr(one, "metadata", [one])]
    own = [
        f"{sign}\N{NO-BREAK SPACE}{getattr(check, kind):g}"
        for check in checks
        for kind, sign in SIGNS.items()
        if getattr(check, kind, None) is not None
    ]
    return own + [
        limit for part in ([hint.__origin__] if metadata else get_args(hint)) for limit in limits(part)
    ]


def drop_aliases(app, what, name, obj, options, lines) -> None:
    """Say nothing of a named tuple's field but its type: Python says "Alias for field number 0" of it."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def keep_lines(app, what, name, obj, options, lines) -> None:
    """Show an indented block, such as formulas or a table, as it is written: to docutils it would be a paragraph."""
    kept, before, inside = [], "", False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not inside and kept and not kept[-1].strip() and not line.lstrip().startswith(">>>"):
            # what already belongs to a list, a field, a directive or a literal block is not a block of its own
            inside = not before.startswith((" ", ".. ", ":", "- ", "* ")) and not before.endswith("::")
            kept += [".. code-block:: text", ""] if inside else []
        elif line.strip() and not indented:
            inside = False
        before = line if line.strip() else before
        kept.append(line.replace("\\|", "|") if inside else line)
    lines[:] = kept


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    # before napoleon
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("autodoc-process-docstring", drop_aliases)
    # after all other changes
    app.connect("autodoc-process-docstring", keep_lines, priority=900)
    app.connect("autodoc-process-docstring", name_limits)
    app.connect("autodoc-process-signature", drop_constructor)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-signature", inherit_types)
    app.add_directive("reference", Reference)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
