"""Python objects between tasks: how they become files and objects again, where the task runs.

The modules ``classes``, ``formats``, ``tables``, ``models`` and ``task`` travel as text inside compiled components
(``travel.bundle``). They import the standard library and each other only, and run on Python 3.9 and later.
"""
