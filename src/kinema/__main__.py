"""`python -m kinema`, for torchrun and for where the command is not on the path."""

from kinema.cli import main

if __name__ == "__main__":
    main()
