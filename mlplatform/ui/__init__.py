"""The pages of the UI: TypeScript sources beside this file, built into ``static`` when the package is built."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

#: What the server answers where the package was built without pages. Plain HTML that needs no style and no script.
MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>mlplatform: pages not built</title>
<h1>The pages are not built</h1>
<p>The server runs, and its API answers under <a href="api/v1/docs">api/v1/docs</a>; only the web pages are missing,
because this package was installed where they could not be built (it needs Node 20.19 or newer, and npm packages).</p>
<p>In a checkout, build them and load this page again:</p>
<pre>python -m mlplatform.ui.build</pre>
<p>The command line shows the same runs meanwhile:</p>
<pre>mlplatform runs list</pre>
</html>
"""


def static_folder() -> Path | None:
    """The folder with ``index.html`` and what it needs; None where the package was built without pages."""
    folder = _HERE / "static"
    return folder if (folder / "index.html").is_file() else None
