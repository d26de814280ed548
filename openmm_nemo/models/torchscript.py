"""TorchScript of the networks, for programs that have torch and not this package; in Angstrom and kT."""

import copy
import io
import zipfile
from pathlib import Path

import torch
from torch import nn

from openmm_nemo.files import completing
from openmm_nemo.models.model import NemoModel

SEQUENCE_FILE = "sequence.pt"
ENERGY_FILE = "energy.pt"
IMPUTATION_FILE = "imputation.pt"


def scripted_networks(model: NemoModel) -> dict[str, torch.jit.ScriptModule]:
    """TorchScript modules of a model by their file names, in evaluation mode.

    In OpenMM's units, and for one protein, see `openmm_nemo.engine.export_energy`.

    Parameters
    ----------
    model : NemoModel

    Returns
    -------
    dict of str to torch.jit.ScriptModule
        ``sequence.pt``: ``(s (B, L, q), mask (B, L)) -> SequenceOutput``, or `BaselineOutput`.
        ``energy.pt``: ``(x (B, L, 3), l1 (B, L, C1), l2 (B, L, L, C2), mask (B, L)) -> U (B,)``; a baseline has none.
        ``imputation.pt``: ``(x (B, L, 3), s (B, L, q), mask (B, L)) -> atoms (B, L, 5, 3)``.
    """
    networks = {
        SEQUENCE_FILE: model.sequence_network,
        ENERGY_FILE: model.energy,
        IMPUTATION_FILE: model.imputation,
    }
    return {
        name: _script(network)
        for name, network in networks.items()
        if isinstance(network, nn.Module)
    }


def write_scripted(model: NemoModel, folder: Path) -> list[str]:
    """Write `scripted_networks` to an existing folder: each file whole or not at all, the same bytes every time.

    Files of networks that the model does not have are removed.

    Returns
    -------
    list of str
        Names of the files.
    """
    modules = scripted_networks(model)
    for name in (SEQUENCE_FILE, ENERGY_FILE, IMPUTATION_FILE):
        if name not in modules:
            (folder / name).unlink(missing_ok=True)
            continue
        with completing(folder / name) as partial:
            partial.write_bytes(_archive(modules[name], Path(name).stem))
    return list(modules)


def _script(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.script(copy.deepcopy(network).cpu().eval().requires_grad_(False))


def _archive(module: torch.jit.ScriptModule, name: str) -> bytes:
    """What `torch.jit.save` writes, without where the sources were on this machine, a quarter of it."""
    saved, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(kept, "w") as archive:
        for entry in sorted(whole.namelist()):
            if not entry.endswith(".debug_pkl") and "serialization_id" not in entry:
                # The first folder is the name of the archive, of a buffer that of nothing.
                _, _, inner = entry.partition("/")
                archive.writestr(zipfile.ZipInfo(f"{name}/{inner}"), whole.read(entry))
    return kept.getvalue()
