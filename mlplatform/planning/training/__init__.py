"""The gang brain: what a distributed training job needs next, whoever runs its ranks (processes here, pods there).

:func:`~mlplatform.planning.training.gang.decide` is the way in. Pure, like everything in ``planning``.
"""
