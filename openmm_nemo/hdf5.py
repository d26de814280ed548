"""Reading of HDF5 files that somebody else may have written."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from types import SimpleNamespace
from typing import Any

_LOCK = RLock()


@contextmanager
def no_unpickling() -> Iterator[None]:
    """Keep PyTables, with which MDTraj reads HDF5, from unpickling what it finds in a file.

    Any attribute of an HDF5 file can be a pickle, which could run code, and PyTables unpickles it without being asked.
    Here it returns the bytes of such an attribute, as it does for bytes that only look like a pickle, and raises
    ``UnpicklingError`` for a data set of pickles. MDTraj itself writes neither.
    """
    from tables import atom, attributeset

    modules = (atom, attributeset)
    stand_in = SimpleNamespace(**vars(pickle) | {"loads": _refuse})
    with _LOCK:  # the modules are changed for the whole process
        before = [module.pickle for module in modules]
        try:
            for module in modules:
                module.pickle = stand_in
            yield
        finally:
            for module, own in zip(modules, before, strict=True):
                module.pickle = own


def _refuse(*_: Any, **__: Any) -> None:
    raise pickle.UnpicklingError("it contains a pickle, which could run code")
