"""A notebook's session: one shell in which the tasks of a notebook run in order, with a checkpoint after each.

Like the rest of the launcher it runs in the user's interpreter, imports nothing of ``mlplatform``, and needs IPython
and cloudpickle beside the standard library. ``spec.md`` in this folder: what passes between the engine and a session.
"""
