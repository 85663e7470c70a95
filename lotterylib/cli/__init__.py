"""The command line: ``lottery plan · run · status · book · score · data · bench · export``."""

from .main import main
from .options import parser

__all__ = ["main", "parser"]
