"""``python -m mlplatform``: the command line."""

from mlplatform.cli.main import main

if __name__ == "__main__":
    main()
