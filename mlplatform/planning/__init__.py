"""The one brain: from the state of a run to what happens next. Pure; every backend stands on it."""
