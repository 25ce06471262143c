"""``python -m pybroker`` is the ``pybroker`` command."""

from pybroker.cli import main

if __name__ == "__main__":
    main(prog_name="pybroker")
