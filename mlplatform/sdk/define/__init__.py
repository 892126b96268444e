"""Writing pipelines in Python: components, pipelines and control flow are recorded here and become KFP IR.

From below: ``types`` (what a value is), ``channels`` (values that only a run will have), ``scope`` (the pipeline being
recorded), ``tasks``, ``control``, ``interface`` (a function's inputs and outputs), ``components``, ``emit`` (from what
was recorded to :mod:`mlplatform.ir.model`), ``pipelines``. Users see it as ``import mlplatform as ml`` and
``mlplatform.dsl``.
"""
