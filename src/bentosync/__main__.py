"""`python -m bentosync` is the `bentosync` command."""

from bentosync.cli.main import main

if __name__ == "__main__":
    main()
