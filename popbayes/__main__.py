"""``python -m popbayes``: the command line where the `popbayes` command is not on the path."""

from popbayes.cli import main

if __name__ == "__main__":
    main()
