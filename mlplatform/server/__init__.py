"""HTTP: our own /api/v1, the KFP v2beta1 API, server-sent events, the pages of the UI."""
