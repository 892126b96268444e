"""HTTP: our own ``/api/v1``, KFP's ``/apis/v2beta1``, events as they happen, the UI's files, MLflow's pages behind us.

A process of its own (``python -m mlplatform.server``), started when somebody first opens the home's port. It reads the
run store itself and asks the service of the home for everything that changes a run.
"""
