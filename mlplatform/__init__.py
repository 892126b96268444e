"""Run notebooks and KFP pipelines on your machine or on Kubernetes, with the same answers.

Importing this is cheap: nothing heavy is loaded before it is used.
"""

__version__ = "0.1.0"
