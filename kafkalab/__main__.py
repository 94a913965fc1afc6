"""``python -m kafkalab``: the same as the console script."""

from kafkalab.cli import main

if __name__ == "__main__":
    main()
