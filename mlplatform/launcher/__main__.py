"""The launcher's door: run as a file by any Python 3.9+, it loads its siblings under a private package name.

::

    python .../launcher/__main__.py SPEC.json                 run one attempt
    python .../launcher/__main__.py --template FD [MODULE...]  serve attempts as forks (template.py)
    python .../launcher/__main__.py --spare FD [MODULE...]     wait for one attempt and become it (template.py)
    python .../launcher/__main__.py --rank FOLDER COOKIE COMMAND...  run one rank of a training job (rank.py)
    python .../launcher/__main__.py --notebook FD              run the tasks of a notebook in one shell (notebook/)
    python .../launcher/__main__.py --notebook-alone SPEC.json run one task of a notebook by itself (notebook/alone.py)
    python .../launcher/__main__.py --notebook-guest LIBRARY   the same in a container, over standard input and output
    python .../launcher/__main__.py --notebook-values FILE     write values that a notebook ended with

``python -m mlplatform.launcher SPEC.json`` is for tasks that are no Python.

Nothing of this folder lands on ``sys.path``, and a user's ``import mlplatform`` stays the user's.
"""

import os
import sys

_PACKAGE = "_mlplatform_launcher"


def _load():
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if not entry or os.path.realpath(entry) != os.path.realpath(here)]
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    if spec is None or spec.loader is None:
        raise SystemExit("the launcher's folder %s cannot be loaded" % here)
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
    return importlib.import_module(_PACKAGE + ".entry")


if __name__ == "__main__":
    if __package__:  # python -m: the bundle's own Python, which runs no user code and may have all this in a zip
        from .entry import main

        main(sys.argv[1:])
    else:
        _load().main(sys.argv[1:])
