"""The table of the rigid-body moves of chains in a simulation of a complex."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from openmm import app

from openmm_nemo.engine.rigid_moves import NemoChainMoves, reach_of
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.runs.outputs import GrowingFile
from openmm_nemo.runs.plots import read_table
from openmm_nemo.runs.settings import CHAIN_MOVE_INTERVAL, CHAIN_MOVES_FILE, SimulationSettings


class ChainMoveOutputs:
    """Moves of the chains of a complex between steps, and their table.

    Parameters
    ----------
    folder : Path
    settings : SimulationSettings
        With moves of chains.
    """

    def __init__(self, folder: Path, settings: SimulationSettings):
        self.settings = settings
        self._file = GrowingFile(folder / CHAIN_MOVES_FILE)

    @contextmanager
    def open(self, simulation: app.Simulation) -> Iterator[None]:
        """Open the table, with everything from the steps so far, and let the simulation move chains.

        Reporters that the simulation gets later report the state after the moves.
        """
        with ExitStack() as at_end:
            at_end.callback(self._file.new.unlink, missing_ok=True)
            s = self.settings
            reach = reach_of([len(chain) for chain in s.chains])
            if s.reach is not None:
                reach = s.reach / ANGSTROM_PER_NM
            self._reporter = NemoChainMoves(
                self._file.new, CHAIN_MOVE_INTERVAL, s.chain_moves, reach=reach
            )
            at_end.enter_context(closing(self._reporter))
            step = simulation.currentStep
            if step > 0:
                n_lines = step // CHAIN_MOVE_INTERVAL + 1
                self._reporter.take_over(simulation, self._file.earlier(), n_lines)
            self._reporter.begin(simulation)
            simulation.reporters.append(self._reporter)
            self._file.begin()
            yield

    def complete(self) -> None:
        """Close the table and give it its final name."""
        self._reporter.close()
        self._file.complete()


def count_moves(folder: Path) -> tuple[int, int]:
    """Proposed and accepted moves of all replicas of a simulation in a folder."""
    last = {name: int(values[-1]) for name, values in read_table(folder / CHAIN_MOVES_FILE).items()}
    proposed, accepted = last["proposed"], [last[name] for name in list(last)[2:]]
    return proposed * len(accepted), sum(accepted)
