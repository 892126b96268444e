"""The pages of the UI: TypeScript sources beside this file, built into ``static`` when the package is built."""
