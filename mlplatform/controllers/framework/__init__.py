"""What all controllers share: the words of a plan (:mod:`~mlplatform.controllers.framework.model`) and the loop."""
