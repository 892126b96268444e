"""The bundle's first program (``entry.c``) as machine code, so that no compiler is needed to make an image.

``python -m mlplatform.images.entry`` compiles it anew and prints what belongs in here.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zlib
from pathlib import Path
from typing import Final

from mlplatform.core.errors import EnvironmentFailed

SOURCE: Final = Path(__file__).with_name("entry.c")
_OPTIONS: Final = (
    *("-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-pie", "-no-pie"),
    *("-fno-asynchronous-unwind-tables", "-Wl,--build-id=none,-z,noseparate-code,-z,norelro,-n,-s"),
)
_COMPILERS: Final = {"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}

#: By architecture; made by gcc 12 of Debian 12.
_MADE: Final = {
    "amd64": """
eNqtVP9rW1UUv/nWRhdNCmV2OthjjK1lJGm6/dB2ZTYurfd1L13VTn8R6kvytgTzpSY32lGwkSyw1/DwF/1FnP+BOCZCKDRLU23mfrChEH9w4gZaF8za
VVBXpS6e8/KiXVfEH7yQe8793M/nnJN7z30zQ8KwXqcjzaEnJwmurpBBdT2o4VdMf1MA6wXeIDERo8o1qXyNpyma9lMjechyGu+FVRZoIf992DTrWqPy
HZr+YaPK46ow295ycYWZL7W30nqh9jPVbS4Rsoh466wFtxDvvcHuuWC2vldYpPLm7FOAW2i9lPrDSa2eUm198SyVV92vuF92n3WP8/LWS66b9J27HWOE
CFnnqDKwZoZkI4rnWTOVM4VP6nVeXuCzbTSzwjpchdSAnjAT5v+VKq8a2vj0grl225tZY3u9WXbILMj3q5l6vQ7a66CttdGS6viMg8SdV+e5gpWQ/Lvg
CkqmDHu5PXCytFT6EHSCXLSaMCjNFGY8fFYHltloevNA0ujNvmGGLVut6k4NtGhl/KKGo31laj1TdK2A8/YT7lnLXvcli43Wi7X1pYsmTEIEuZR/DZJW
f3wAafoK7PDSoIpWKw0geSA1rzJVWk6EiVqHNpCRAkbNqPIVpXwNy1wSlMvlZTiddOm8IC9TwG8BrnxWvofgnY3qaRDlP8IoEOHkg4ZIvlU9hvjHGn64
gVN5ufoM4lc1/Mkm/37VgHhRw3/7E/CurfwqrrPzeLSC4jnU6pWLfPr2Jr/wk2FUtlSwfUZKxgre5VdAHZWPV2wa1gH2axXbX8EWHQF+J9jqVYidKSSf
1uLm1/G0LgM4h90L9zDc3MHsGKob8N81vxf8LVS8jgo/eJlCbrpxiMW5x9RExgq+FF6xlHP4mIS+asLKZ9nn0GpsYROv867rS14ZqkNDQbcu0PSijWYV
7EKa/n6D6spww13f8nJ7AZ9Gdh/N3GTHUieEZGdqWudJHkxN6yeS+6ncl69jKde3sBO/w4ObR1eZ0lFs2C+GXCu5E1iBvIynn30fU1hNec4EN4+lXdPD
NPccTFZTbgCBGZjUWN9YTbu/W4eDRMKTYZGdi8UjjrCYjPqDUtwxGQtsx/3hkCMihqLEORmP+Z0JKXzOKU1JxBkO+ZzhmBgASSKmLtUJ9vzOyQssGAOJ
LxRt+na7GD//ZjdYIMXF+AX7pMiCpJl2W0pi54k9QrzCmOAeHz7zonfi9NDY+MQj9f+j6OdYUOJ8yWggLHGhBBeNMe6tYCws9XMhluAaVXJ+MYobPolL
MDHOpMDj5PlTp/q5To/kC4lRztXj6HF0213HjwYkn6sn6erSIDiqRDDB4kz0EQeTphhxxGMBkYnE4Y9FIlKUkf9j7IEf3mXLI9/rxvjA8DBft0PfpmF6
bY2fhYZtrA07BNwO/T5N370D92v9c4Tsnn+7Nezyv2Y1/UHy7/X/BQJlKms=
""",
}


def program(architecture: str) -> bytes:
    """The program for ``amd64`` or ``arm64``.

    Raises:
        EnvironmentFailed: it is not kept for this architecture, and there is no compiler for it.
    """
    made = _MADE.get(architecture)
    return zlib.decompress(base64.b64decode(made)) if made else compiled(architecture)


def compiled(architecture: str) -> bytes:
    """The program, compiled now. Raises EnvironmentFailed."""
    compiler = shutil.which(_COMPILERS.get(architecture, "")) or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise EnvironmentFailed(
            f"There is no C compiler for {architecture}, which the image's first program needs.",
            hint=f"Install {_COMPILERS.get(architecture, 'gcc')}.",
        )
    with tempfile.TemporaryDirectory(prefix="mlplatform-entry-") as folder:
        made = Path(folder) / "entry"
        told = subprocess.run(
            [compiler, *_OPTIONS, "-o", str(made), str(SOURCE)], capture_output=True, text=True, check=False
        )
        if told.returncode:
            raise EnvironmentFailed(f"The image's first program could not be compiled:\n{told.stderr.strip()}")
        return made.read_bytes()


if __name__ == "__main__":
    words = base64.b64encode(zlib.compress(compiled(sys.argv[1] if sys.argv[1:] else "amd64"), 9)).decode()
    sys.stdout.write(textwrap.fill(words, 116) + "\n")
