"""Compiles Python files the same way every time: run as a file by the Python the result is for, standard library only.

    python -I -S -B compile_worker.py REQUESTS

REQUESTS holds one JSON list ``[logical name, source file, result file]`` a line. Each code object is forgotten before
the next one is compiled, so that what is written does not depend on the order. A file that is not Python (a template,
a test of syntax errors) gets no result.
"""

import importlib.util
import json
import marshal
import os
import sys
import warnings


def main(requests: str) -> None:
    warnings.simplefilter("ignore")
    for line in open(requests, encoding="utf-8"):  # noqa: SIM115 - the process ends with it
        name, source, result = json.loads(line)
        with open(source, "rb") as file:
            text = file.read()
        try:
            code = compile(text, name, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError, RecursionError):
            continue
        # flags 0b01: hash-based, not checked against the source at import
        data = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(text)
        data += marshal.dumps(code)
        del code
        with open(result + ".new", "wb") as file:
            file.write(data)
        os.replace(result + ".new", result)


if __name__ == "__main__":
    main(sys.argv[1])
