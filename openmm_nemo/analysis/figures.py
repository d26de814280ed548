"""Pictures of an analysis, and of a check of an ensemble."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openmm_nemo.analysis.ensemble_check import EnsembleCheck
from openmm_nemo.analysis.free_energies import Thermodynamics
from openmm_nemo.analysis.measures import CONTACT_DISTANCE, distances, pairs
from openmm_nemo.analysis.slow_motions import SlowMotions
from openmm_nemo.analysis.trajectories import MeasuredTrajectory
from openmm_nemo.pages.pictures import Picture, draw_picture

LABELS = {
    "energy_kj_mol": "potential energy (kJ/mol)",
    "radius_of_gyration_angstrom": "radius of gyration (Å)",
    "rmsd_angstrom": "RMSD to the native (Å)",
    "native_contacts": "fraction of native contacts Q",
}
"""Measures that are drawn over time."""

_STRUCTURE = {"H": ("helix", "#d1495b"), "E": ("strand", "#e0b02f"), "C": ("coil", "#8c959f")}
_SHOWN_FRAMES = 1000
"""Columns of the picture of secondary structure."""

_SHOWN_LINES = 2000
"""Points of a line over time."""

_LEGEND_LINES = 8
"""Entries of a legend, spread evenly: colours change steadily from the first to the last."""


def over_time(measured: Sequence[MeasuredTrajectory], native: Mapping[str, float]) -> list[Picture]:
    """One picture per measure, with a line per trajectory; dashed: value of the native, where it is given."""
    colour = _colours([m.temperatures for m in measured])
    return [
        _measure_over_time(measured, name, native.get(name), colour)
        for name in LABELS
        if name in measured[0].values
    ]


def _measure_over_time(
    measured: Sequence[MeasuredTrajectory],
    name: str,
    native: float | None,
    colour: Mapping[str, Any],
) -> Picture:
    def draw(axes: Any, ink: str) -> None:
        labelled = set()
        for m in measured:
            every = -(-len(m.x) // _SHOWN_LINES)
            label = m.temperatures if len(colour) > 1 and m.temperatures not in labelled else None
            labelled.add(m.temperatures)
            axes.plot(
                m.simulated.step[::every],
                m.values[name][::every],
                color=colour[m.temperatures],
                linewidth=0.8,
                alpha=1 if len(measured) <= 4 else 0.6,
                label=label,
                marker="." if len(m.x) == 1 else "",
            )
        if native is not None:
            axes.axhline(native, color=ink, linewidth=0.8, linestyle="--")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("step")
        axes.set_ylabel(LABELS[name])
        _legend(axes)

    label = LABELS[name].split(" (")[0]
    title = label[0].upper() + label[1:]
    text = "One line per trajectory." if len(measured) > 1 else "In the course of the simulation."
    if native is not None:
        text += f" Dashed: the native structure, {native:.1f} Å."
    return draw_picture(name.removesuffix("_angstrom").removesuffix("_kj_mol"), title, text, draw)


def contact_map(
    frequencies: np.ndarray, length: int, temperatures: str, native: np.ndarray | None
) -> Picture:
    """Contacts ``frequencies (P,)`` of `measures.pairs` below the diagonal, those of the native above it."""
    i, j = pairs(length)
    image = np.full((length, length), np.nan)
    image[j, i] = frequencies
    image[i, j] = (
        frequencies if native is None else distances(native[None], i, j)[0] < CONTACT_DISTANCE
    )

    def draw(axes: Any, ink: str) -> None:
        axes.grid(False)
        extent = (0.5, length + 0.5, length + 0.5, 0.5)
        shown = axes.imshow(image, cmap="YlGnBu", vmin=0, vmax=1, extent=extent)
        axes.axline((1, 1), slope=1, color=ink, linewidth=0.5)
        axes.figure.colorbar(shown, label="fraction of frames", shrink=0.8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
            axis.set_label_text("residue, from 1")

    text = (
        f"Fraction of frames after equilibration, at {temperatures}, in which two Cα are closer than "
        f"{CONTACT_DISTANCE:g} Å."
    )
    if native is not None:
        text += " Above the diagonal: the native structure."
    return draw_picture("contacts", "Contacts", text, draw)


def structure_over_time(measured: Sequence[MeasuredTrajectory]) -> Picture:
    """Secondary structure of all residues over the frames of all trajectories, one after another."""
    codes = np.concatenate([m.structure for m in measured])
    starts = np.cumsum([0, *(len(m.structure) for m in measured)])
    every = -(-len(codes) // _SHOWN_FRAMES)
    numbers = np.zeros(codes[::every].shape)
    for number, code in enumerate(_STRUCTURE):
        numbers[codes[::every] == code] = number

    def draw(axes: Any, ink: str) -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        axes.grid(False)
        colours = [colour for _, colour in _STRUCTURE.values()]
        axes.imshow(
            numbers.T,
            cmap=ListedColormap([*colours[:2], axes.get_facecolor()]),
            vmin=-0.5,
            vmax=2.5,
            aspect="auto",
            interpolation="nearest",
            origin="lower",
            extent=(0, len(codes), 0.5, codes.shape[1] + 0.5),
        )
        for start in starts[1:-1]:
            axes.axvline(start, color=ink, linewidth=0.6)
        axes.set_xlabel("frame" if len(measured) == 1 else "frame, one trajectory after another")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("residue, from 1")
        axes.legend(
            handles=[Patch(color=colour, label=name) for name, colour in list(_STRUCTURE.values())[:2]],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            frameon=False,
        )  # fmt: skip

    shares = [f"{100 * (codes == code).mean():.0f}% {_STRUCTURE[code][0]}" for code in ("H", "E")]
    text = f"By DSSP, from the imputed backbone: {' and '.join(shares)} over all frames."
    return draw_picture("secondary_structure", "Secondary structure", text, draw)


def heat_capacity(thermodynamics: Thermodynamics, sampled: np.ndarray) -> Picture:
    """Heat capacity over temperature, with marks at the temperatures ``sampled (K,)``."""
    t = thermodynamics

    def draw(axes: Any, ink: str) -> None:
        _band(axes, t.temperature, t.heat_capacity, t.heat_capacity_error, "#4a7fc9", None)
        axes.plot(
            sampled,
            np.interp(sampled, t.temperature, t.heat_capacity),
            "o",
            color="#4a7fc9",
            markersize=4,
        )
        axes.set_xlabel("temperature (K)")
        axes.set_ylabel("heat capacity (kJ/(mol K))")

    text = "Of the potential energy, reweighted by MBAR, with one standard error; dots: simulated temperatures."
    top = t.heat_capacity.argmax()
    if 0 < top < len(t.temperature) - 1:
        text += f" Largest at {t.temperature[top]:.0f} K."
    return draw_picture("heat_capacity", "Heat capacity", text, draw)


def profiles(
    name: str,
    centres: np.ndarray,
    found: Mapping[float, tuple[np.ndarray, np.ndarray]],
) -> Picture:
    """Free energy along a measure: by temperature, the value and the error (B,) at ``centres (B,)``."""
    colour = _colours([f"{t:g} K" for t in found])

    def draw(axes: Any, ink: str) -> None:
        for t, (value, error) in found.items():
            label = f"{t:g} K"
            known = np.isfinite(value)
            _band(axes, centres[known], value[known], error[known], colour[label], label)
        axes.set_xlabel(LABELS[name])
        axes.set_ylabel("free energy (kT)")
        _legend(axes)

    text = "Reweighted by MBAR from all temperatures, with one standard error (of the difference to the minimum)."
    measure = LABELS[name].split(" (")[0]
    return draw_picture(
        f"free_energy_{name.removesuffix('_angstrom')}", f"Free energy along {measure}", text, draw
    )


def slowest_motions(
    measured: Sequence[MeasuredTrajectory], found: SlowMotions, lag: int, interval: int
) -> Picture:
    """Frames in the plane of the two slowest components; times are in steps."""
    colour = _colours([m.temperatures for m in measured])

    def draw(axes: Any, ink: str) -> None:
        for m, points in zip(measured, found.components, strict=True):
            axes.scatter(
                points[:, 0],
                points[:, 1] if points.shape[1] > 1 else np.zeros(len(points)),
                s=float(np.clip(4000 / len(points), 2, 14)),
                color=colour[m.temperatures],
                alpha=0.5,
                linewidths=0,
            )
        axes.set_xlabel("slowest component")
        axes.set_ylabel("second slowest component")

    times = " and ".join(
        f"{time * interval:,.0f}" if np.isfinite(time) else "unknown" for time in found.times
    )
    text = f"TICA of angles and dihedrals with a lag of {lag * interval} steps; relaxation times: {times} steps."
    return draw_picture("tica", "Slowest motions", text, draw)


def energy_histograms(energies: Mapping[float, np.ndarray]) -> Picture:
    """Histograms of the energies (N,), kJ/mol, of independent samples by temperature."""
    colour = _colours([f"{t:g} K" for t in energies])
    edges = _energy_bins(np.concatenate(list(energies.values())))

    def draw(axes: Any, ink: str) -> None:
        for t, energy in energies.items():
            label = f"{t:g} K"
            density, _ = np.histogram(energy, edges, density=True)
            axes.stairs(density, edges, color=colour[label], label=label, fill=True, alpha=0.25)
            axes.stairs(density, edges, color=colour[label])
        axes.set_xlabel(LABELS["energy_kj_mol"])
        axes.set_ylabel("density (mol/kJ)")
        _legend(axes)

    return draw_picture("energies", "Energies", "Histograms of independent samples.", draw)


def energy_ratios(energies: Mapping[float, np.ndarray], checks: Sequence[EnsembleCheck]) -> Picture:
    """Logarithms of ratios of histograms of neighbouring temperatures, with the fitted and the expected line."""

    def draw(axes: Any, ink: str) -> None:
        colour = _colours([f"{c.low:g} K" for c in checks])
        for c in checks:
            low, high = energies[c.low], energies[c.high]
            edges = _energy_bins(np.concatenate([low, high]))
            n_low, n_high = (np.histogram(e, edges)[0].astype(float) for e in (low, high))
            both = (n_low > 2) & (n_high > 2)
            centre = (0.5 * (edges[1:] + edges[:-1]))[both]
            n_low, n_high = n_low[both], n_high[both]
            ratio = np.log(n_high / n_low * len(low) / len(high))
            error = np.sqrt(1 / n_low + 1 / n_high)
            label = f"{c.low:g} and {c.high:g} K: {c.deviation:+.1f} s.e."
            shade = colour[f"{c.low:g} K"]
            axes.errorbar(centre, ratio, error, fmt="o", color=shade, markersize=3, linewidth=0.8)
            ends = np.array([min(low.max(), high.max()), max(low.min(), high.min())])
            ends = np.array([centre.min(), centre.max()]) if len(centre) > 1 else ends
            axes.plot(ends, c.offset + c.slope * ends, color=shade, label=label)
            middle = c.offset + c.slope * ends.mean()
            axes.plot(
                ends, middle + c.expected * (ends - ends.mean()), "--", color=ink, linewidth=1
            )
        axes.set_xlabel(LABELS["energy_kj_mol"])
        axes.set_ylabel("ln (P(E) warmer / P(E) colder)")
        _legend(axes)

    text = (
        "Dots: histograms, with one standard error; line: the slope of greatest likelihood; dashed: the slope of the "
        "Boltzmann distribution."
    )
    return draw_picture("ratios", "Ratios of energies", text, draw)


def _energy_bins(energy: np.ndarray) -> np.ndarray:
    edges: np.ndarray = np.linspace(
        energy.min(), energy.max(), int(np.clip(len(energy) ** 0.5, 8, 40)) + 1
    )
    return edges


def _colours(labels: Sequence[str]) -> dict[str, Any]:
    """A colour per different label, from cold to warm in their order."""
    from matplotlib import colormaps

    different = list(dict.fromkeys(labels))
    if len(different) == 1:
        return {different[0]: "#4a7fc9"}
    shades = np.concatenate(
        [np.linspace(0.05, 0.3, 8), np.linspace(0.7, 0.95, 8)]
    )  # both grounds are near the middle
    places = np.linspace(0, len(shades) - 1, len(different)).round().astype(int)
    return {
        label: colormaps["coolwarm"](shades[place])
        for label, place in zip(different, places, strict=True)
    }


def _band(
    axes: Any, x: np.ndarray, y: np.ndarray, error: np.ndarray, colour: Any, label: str | None
) -> None:
    axes.plot(x, y, color=colour, label=label, linewidth=1.2)
    axes.fill_between(x, y - error, y + error, color=colour, alpha=0.25, linewidth=0)


def _legend(axes: Any) -> None:
    """Legend of what has a label, above the axes."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        n = len(labels)
        shown = np.linspace(0, n - 1, min(n, _LEGEND_LINES)).round().astype(int)
        axes.legend(
            [handles[k] for k in shown],
            [labels[k] for k in shown],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=1 if max(map(len, labels)) > 12 else 4,
            frameon=False,
            borderpad=0,
            fontsize="small",
        )
