"""The command line: ``mlplatform run | compile | validate | runs | cache | mlflow | doctor | gc | service | demo``."""
