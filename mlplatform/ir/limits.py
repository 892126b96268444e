"""How large a pipeline document may be. Beyond these it is refused while it is read."""

from typing import Final

#: Text, in bytes.
MAX_BYTES: Final = 32 * 1024 * 1024
#: Mappings and lists inside each other.
MAX_DEPTH: Final = 200
#: Values in the document; what an alias names counts as often as it is used.
MAX_NODES: Final = 2_000_000
