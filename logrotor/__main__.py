"""``python -m logrotor``."""

from logrotor.cli import main

if __name__ == "__main__":
    main()
