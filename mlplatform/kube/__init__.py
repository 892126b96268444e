"""The Kubernetes client runtime: requests, watches, caches, queues, leases, events. Controllers and clients share it.

Objects are plain dictionaries as the API server sends them. :mod:`~mlplatform.kube.objects` says what they are made of
(pure), :mod:`~mlplatform.kube.client` asks and writes, :mod:`~mlplatform.kube.informer` keeps a copy up to date,
:mod:`~mlplatform.kube.transport` is the only door to the official ``kubernetes`` package.
"""
