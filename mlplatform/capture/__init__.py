"""What a piece of Python needs to run elsewhere: free variables, helpers, modules, packages; its fingerprint
and source."""
