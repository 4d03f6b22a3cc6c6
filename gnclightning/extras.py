"""Packages that are not always there, imported when they are first needed."""

from importlib import import_module
from typing import Any

from gnclightning.errors import UserError


def import_extra(name: str, remedy: str) -> Any:
    """Import a package that is an optional extra.

    Args:
        name: of the package's module.
        remedy: how to get it.

    Raises:
        UserError: it is not there, or cannot be loaded.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"expected the package {name}, got {error}: {remedy}") from error
