"""Container images without a container engine: written as OCI layouts, pushed to and pulled from registries.

The same inputs give the same digest: entries are sorted, owned by 0:0, dated ``SOURCE_DATE_EPOCH`` (0 if unset), and
compiled Python is hash-based. Standard library only; nothing runs as root.

::

    tree.py, layers.py     what lies in a layer, and the layer as a blob
    layout.py              blobs and manifests in an OCI layout: a folder, or a tar archive
    references.py          names of images
    registry/              the distribution API: push, pull, credentials
    bundle.py, launcher.py a self-contained Python that runs in any image
"""
