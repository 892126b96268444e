"""The launcher in a pod: brings inputs, runs the task as on one machine, keeps outputs, leaves a result behind.

It runs on the interpreter that came with it. Nothing is expected of the task's image; where the task is a Python
component, that one runs on the image's own Python.
"""
