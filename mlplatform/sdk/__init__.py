"""What users import, and what the command line is made of: submitting, watching and reading runs."""
