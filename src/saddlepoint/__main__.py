"""`python -m saddlepoint` is the command."""

from saddlepoint.cli.main import main

if __name__ == "__main__":
    main()
