"""What makes many small simulations quick."""

import pytest

from openmm_nemo.runs import outputs


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """In other processes, too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("OPENMM_CPU_THREADS", "1")
        yield


@pytest.fixture
def quick_pictures():
    """Pictures take half of the time of a small simulation; those who use this test other things."""

    def draw(table, file, **_):
        file.write_text("a picture")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "plot_simulation", draw)
        yield
