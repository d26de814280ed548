"""Entry point of the command, also as ``python -m openmm_nemo``."""

from openmm_nemo.runs.interruption import exit_on_interrupt


def main() -> None:
    """Import the command, without a traceback on Ctrl-C, and run it."""
    with exit_on_interrupt():
        from openmm_nemo.cli import main as run
    run()


if __name__ == "__main__":
    main()
