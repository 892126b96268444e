"""What a piece of Python needs to run elsewhere: free variables, helpers, modules, packages.

:func:`capture` starts at the function *object*, as the kernel has it now: every name it uses is looked up, and what is
found is written down again as text (definitions, imports, literals) or, where no text can say it, as a pickle. Files
and cells are read only to get the text of definitions; modules of the project travel whole.
"""

from .model import LARGE, LIMIT, CannotCapture, Captured
from .reach import capture

__all__ = ["LARGE", "LIMIT", "CannotCapture", "Captured", "capture"]
