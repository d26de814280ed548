"""The figures of the page on concepts, from the models and functions of this package: ``python docs/figures.py``.

They show what Figures 1, 2, 3, 6 and 8 of the paper show. Each is written twice, for light and for dark pages, to
``docs/figures``. It takes a minute; names of figures as arguments choose some.
"""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from openmm_nemo import ConditionedModel, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.data.families.profiles import read_profile
from openmm_nemo.geometry import (
    cartesian_to_internal,
    chain_axes,
    internal_to_cartesian,
    jacobian_product,
    residue_frames,
    rigid_frame,
    superpose,
)
from openmm_nemo.geometry.features import smooth_pair_geometry

HERE = Path(__file__).parent
DATA = HERE.parent / "examples" / "data"

THEMES = {
    "light": {
        "ink": "#222222",
        "faint": "#b8b8b8",
        "blue": "#1f5a99",
        "red": "#c8371b",
        "box": "#eef3f8",
    },
    "dark": {
        "ink": "#dddddd",
        "faint": "#6a6a6a",
        "blue": "#8ab8e6",
        "red": "#ff8a70",
        "box": "#22303d",
    },
}
STEPS, SEED = 1000, 2  # as in make demo
SHOWN = (0, 50, 200, 500, 1000)


def arginine_repressor() -> tuple[ConditionedModel, np.ndarray]:
    """The protein of ``make demo``, and its native C-alpha positions, Angstrom."""
    native = read_structure(DATA / "2p5m.pdb")
    profile = read_profile(DATA / "2p5m_profile.txt")
    model = NemoModel.from_pretrained("nemo-fold")
    return model.condition(native.sequence, profile=profile), native.ca


def fold(protein: ConditionedModel) -> tuple[np.ndarray, np.ndarray]:
    """Positions (STEPS/10 + 1, L, 3), Angstrom, and energies, kT, of the simulation of ``make demo``."""
    integrator = protein.create_integrator(seed=SEED, schedule=protein.schedule(STEPS))
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(protein.create_system(), integrator, platform, {"Threads": "1"})
    context.setPositions(protein.initial_positions(SEED))
    x, u = [], []
    for step in range(0, STEPS + 1, 10):
        state = context.getState(positions=True, energy=True)
        x.append(10 * state.getPositions(asNumpy=True)._value)
        u.append(state.getPotentialEnergy()._value / (300 * 8.314462618e-3))
        if step < STEPS:
            integrator.step(10)
    return np.array(x), np.array(u)


def flat(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Positions (L, 3) turned onto others, and these seen from the side on which they are widest."""
    onto = torch.as_tensor(like - like.mean(0), dtype=torch.float64)
    turned = superpose(torch.as_tensor(x, dtype=torch.float64), onto).numpy()
    axes = np.linalg.svd(onto.numpy(), full_matrices=False)[2]
    return turned @ axes.T


def draw_chain(axes: Axes, x: np.ndarray, width: float = 3.0, alpha: float = 1.0) -> None:
    """A chain (L, 3) along its third axis, from blue to red, with what is near drawn last."""
    segments = np.stack([x[:-1], x[1:]], axis=1)
    order = np.argsort(segments[:, :, 2].mean(1))
    colours = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, len(segments)))
    lines = LineCollection(
        segments[order][:, :, :2],
        colors=colours[order],
        linewidths=width,
        capstyle="round",
        alpha=alpha,
    )
    axes.add_collection(lines)
    axes.set(aspect="equal")
    axes.autoscale_view()
    axes.axis("off")


def unrolled(figure: Figure, c: dict[str, str]) -> None:
    """A simulation as a model: sequence, start, steps, atoms; and the energy on the way."""
    protein, native = arginine_repressor()
    x, u = fold(protein)
    frames = [flat(x[step // 10], native) for step in SHOWN]
    atoms = protein.impute(torch.as_tensor(x[-1], dtype=torch.float32))[:, :3].numpy()
    target = flat(native, native)
    rms = [float(np.sqrt(((flat(a, native) - target) ** 2).sum(1).mean())) for a in x]
    grid = figure.add_gridspec(2, len(SHOWN) + 2, height_ratios=(5, 4))
    reach = np.abs(np.concatenate([frames[-1], target])[:, :2]).max() * 1.05
    for k, (step, frame) in enumerate(zip(SHOWN, frames, strict=True)):
        axes = figure.add_subplot(grid[0, k])
        draw_chain(axes, frame, 2.5)
        far = max(np.abs(frame[:, :2]).max() * 1.05, reach)
        axes.set(xlim=(-far, far), ylim=(-far, far), title=f"step {step}")
    axes = figure.add_subplot(grid[0, -2])
    turned = flat(x[-1], native)
    fit = np.linalg.lstsq(x[-1] - x[-1].mean(0), turned - turned.mean(0), rcond=None)[0]
    backbone = (atoms.reshape(-1, 3) - x[-1].mean(0)) @ fit
    draw_chain(axes, backbone, 1.6)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), title="atoms")
    axes = figure.add_subplot(grid[0, -1])
    draw_chain(axes, target, 2.5)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), title="native")
    steps = 10 * np.arange(len(u))
    for part, values, label in ((grid[1, :3], u, "energy / kT"), (grid[1, 4:], rms, "RMSD / Å")):
        axes = figure.add_subplot(part)
        axes.plot(steps, values, color=c["blue"], lw=1.4)
        axes.set(xlabel="step", ylabel=label, xlim=(0, STEPS))
        for step in SHOWN:
            axes.axvline(step, color=c["faint"], lw=0.6, zorder=0)


def energy(figure: Figure, c: dict[str, str]) -> None:
    """The energy of each pair, the coordinates in which it moves, and what it sees of a pair."""
    protein, native = arginine_repressor()
    grid = figure.add_gridspec(1, 3, width_ratios=(1.25, 0.8, 1.25))
    axes = figure.add_subplot(grid[0])
    values = pair_energies(protein, torch.as_tensor(native, dtype=torch.float32))
    values[np.tril_indices(len(values))] = np.nan
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-6, vmax=6)
    figure.colorbar(shown, ax=axes, label="energy / kT", shrink=0.75)
    apart = np.linalg.norm(native[:, None] - native[None], axis=-1)
    i, j = np.nonzero(np.tril(apart < 8, -6))
    axes.plot(j, i, "s", ms=1.6, color=c["ink"])
    axes.set(title="A   energies of pairs; native contacts", xlabel="residue", ylabel="residue")

    axes = figure.add_subplot(grid[1])
    draw_arms(axes, c)
    axes.set_title("B   moves: length, angle, dihedral")

    inner = grid[2].subgridspec(2, 1)
    axes = figure.add_subplot(inner[0])
    term = protein.potential.network.terms["pair-basis"]
    distance = torch.linspace(2.5, 24, 400)
    functions = term.functions(distance, torch.zeros(400, 3)).numpy()[
        :, : len(term.functions.centres)
    ]
    axes.plot(distance, functions, color=c["blue"], lw=0.7)
    axes.set(title="C   distances", xlabel="distance / Å", yticks=[], xlim=(2.5, 24))
    axes = figure.add_subplot(inner[1])
    draw_orientation(axes, native, c)
    axes.set_title("and directions in local frames")


def pair_energies(protein: ConditionedModel, x: Tensor) -> np.ndarray:
    """Energies of the pair term (L, L), kT, each pair in both halves."""
    term = protein.potential.network.terms["pair-basis"]
    coefficients = protein.potential.coefficient_values()[0]
    mask = torch.ones(1, len(x))
    with torch.no_grad():
        distance, direction = smooth_pair_geometry(x[None], mask, term.straight, math.inf)
        one = (coefficients * term.functions(distance, direction)).sum(-1)
        one = (one * term.scale_of_pairs(len(x)))[0]
    index = torch.arange(len(x))
    far = (index[:, None] - index).abs() >= term.min_separation
    return ((one + one.T) * far).numpy()


def hairpin(n: int = 14) -> Tensor:
    """A bent chain (n, 3), Angstrom."""
    z = torch.zeros(n, 3, dtype=torch.float64)
    z[:, 0], z[:, 1] = 3.78, 0.55
    z[:, 2] = math.pi
    z[n // 2 - 1 : n // 2 + 1, 2] = 0.35
    return internal_to_cartesian(z)


def draw_arms(axes: Axes, c: dict[str, str]) -> None:
    """What is downstream of one bond moves with its length, its angle or its dihedral."""
    x = hairpin(10)
    z = cartesian_to_internal(x)
    view = np.array([[1.0, 0.0, 0.25], [0.0, 1.0, 0.45]])
    for row, (column, size) in enumerate(((0, 1.3), (1, 0.5), (2, 0.8))):
        shift = np.array([0.0, -24.0 * row])
        for share in (0.0, 0.5, 1.0):
            moved = z.clone()
            moved[4, column] += share * size
            y = internal_to_cartesian(moved, *rigid_frame(x)).numpy() @ view.T + shift
            last = share == 0
            axes.plot(*y[:4].T, "-", color=c["ink"], lw=2)
            axes.plot(*y[3:].T, "-", color=c["ink"] if last else c["red"], lw=2 if last else 1.2,
                      alpha=1 if last else 0.45 + 0.4 * share, zorder=2)  # fmt: skip
        y = x.numpy() @ view.T + shift
        axes.plot(*y.T, "o", ms=4, color=c["ink"])
        axes.plot(*y[3], "o", ms=7, mfc="none", color=c["red"])
    axes.set(aspect="equal")
    axes.axis("off")


def draw_orientation(axes: Axes, native: np.ndarray, c: dict[str, str]) -> None:
    """The frame of one residue, and the directions of others in it."""
    part = native[10:34]
    flattened = flat(part, part)
    x = torch.as_tensor(flattened, dtype=torch.float64)
    frames = residue_frames(x[None], torch.ones(1, len(x)))[0].numpy()
    axes.plot(*flattened[:, :2].T, "-o", ms=3, lw=1.2, color=c["faint"], zorder=1)
    i = 6
    for j in (12, 16, 20):
        axes.annotate("", flattened[j, :2], flattened[i, :2],
                      arrowprops={"arrowstyle": "->", "color": c["blue"], "lw": 1.1})  # fmt: skip
    for axis in frames[i].T:
        tip = flattened[i, :2] + 5 * axis[:2]
        axes.annotate("", tip, flattened[i, :2],
                      arrowprops={"arrowstyle": "-|>", "color": c["red"], "lw": 1.8})  # fmt: skip
    axes.set(aspect="equal")
    axes.axis("off")


def transform(figure: Figure, c: dict[str, str]) -> None:
    """One step in internal coordinates: exact, by Euler's and by Heun's method."""
    x = hairpin()
    z = cartesian_to_internal(x)
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    direction[:, 0] *= 0.2

    def steps(size: float) -> dict[str, Tensor]:
        dz = size * direction
        axes = chain_axes(x)
        euler = x + jacobian_product(axes, dz)
        heun = x + 0.5 * (euler - x + jacobian_product(chain_axes(euler), dz))
        return {
            "exact, F(z + dz)": internal_to_cartesian(z + dz, *rigid_frame(x)),
            "Euler": euler,
            "Heun": heun,
        }

    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    view = np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.5]])
    styles = {
        "exact, F(z + dz)": (c["ink"], "-"),
        "Euler": (c["red"], "-"),
        "Heun": (c["blue"], "--"),
    }
    left.plot(*(x.numpy() @ view.T).T, "-o", ms=4, lw=1.2, color=c["faint"], label="before")
    for name, y in steps(0.28).items():
        colour, line = styles[name]
        left.plot(
            *(y.numpy() @ view.T).T, line, marker="o", ms=3.5, lw=1.8, color=colour, label=name
        )
    left.legend(frameon=False, loc="lower right", bbox_to_anchor=(0.1, 0.1))
    left.set(aspect="equal", title="a large step")
    left.axis("off")
    sizes = np.geomspace(1e-3, 0.5, 25)
    for name, slope in (("Euler", 2), ("Heun", 3)):
        errors = []
        for size in sizes:
            done = steps(float(size))
            errors.append((done[name] - done["exact, F(z + dz)"]).norm(dim=-1).max().item())
        right.loglog(sizes, errors, color=styles[name][0], ls=styles[name][1], lw=1.8,
                     label=f"{name}: order {slope}")  # fmt: skip
    right.set(xlabel="size of dz", ylabel="largest error / Å", title="error of one step")
    right.legend(frameon=False)


def box(
    axes: Axes,
    c: dict[str, str],
    place: tuple[float, float],
    text: str,
    size: tuple[float, float] = (1.7, 0.62),
) -> None:
    """A rounded box with its centre at a place."""
    (x, y), (w, h) = place, size
    axes.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0.06",
                                  fc=c["box"], ec=c["blue"], lw=1))  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(
    axes: Axes,
    c: dict[str, str],
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    bend: float = 0.0,
) -> None:
    """An arrow with a word above its middle."""
    style = f"arc3,rad={bend}"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=c["ink"],
                                   lw=1, connectionstyle=style, shrinkA=0, shrinkB=0))  # fmt: skip
    if text:
        axes.text(
            (start[0] + end[0]) / 2,
            (start[1] + end[1]) / 2 + 0.08,
            text,
            ha="center",
            va="bottom",
            fontsize=8.5,
        )


def schematic(figure: Figure, c: dict[str, str]) -> None:
    """The parts of a model, and what each gives to the next."""
    axes = figure.add_subplot()
    box(axes, c, (0.9, 3.0), "sequence, profile,\nembedding")
    box(axes, c, (3.5, 3.0), "sequence network\nonce per protein", (1.9, 0.75))
    box(axes, c, (6.5, 4.2), "coefficients l(s)")
    box(axes, c, (6.5, 3.0), "initial state z(0)")
    box(axes, c, (6.5, 1.8), "step sizes,\npreconditioner")
    box(axes, c, (9.6, 4.2), "energy\nU = Σ l · f(x)")
    box(axes, c, (9.6, 1.8), "step: Cartesian\nand internal")
    box(axes, c, (12.4, 3.0), "positions x(t)")
    box(axes, c, (12.4, 0.5), "imputation\nnetwork")
    box(axes, c, (9.6, 0.5), "atoms X")
    box(axes, c, (3.5, 0.5), "losses", (1.9, 0.62))
    arrow(axes, c, (1.85, 3.0), (2.45, 3.0))
    for y in (4.2, 3.0, 1.8):
        arrow(axes, c, (4.55, 3.0), (5.55, y))
    arrow(axes, c, (7.45, 4.2), (8.65, 4.2))
    arrow(axes, c, (7.45, 1.8), (8.65, 1.8))
    arrow(axes, c, (7.45, 3.0), (11.45, 3.0))
    axes.text(8.3, 3.06, "x(0)", ha="center", va="bottom", fontsize=8.5)
    arrow(axes, c, (9.6, 3.8), (9.6, 2.2))
    axes.text(9.68, 3.42, "−∂U/∂x", ha="left", va="center", fontsize=8.5)
    arrow(axes, c, (10.55, 1.8), (12.1, 2.6), "")
    axes.text(11.55, 1.98, "x(t+1)", ha="left", va="center", fontsize=8.5)
    arrow(axes, c, (12.1, 3.4), (10.55, 4.2), "")
    axes.text(11.55, 3.95, "features f(x)", ha="left", va="center", fontsize=8.5)
    arrow(axes, c, (12.9, 2.6), (12.9, 0.9))
    axes.text(12.98, 1.6, "x(T)", ha="left", va="center", fontsize=8.5)
    arrow(axes, c, (11.45, 0.5), (10.55, 0.5))
    arrow(axes, c, (8.65, 0.5), (4.55, 0.5))
    arrow(axes, c, (3.5, 0.9), (3.5, 2.55))
    axes.text(3.58, 1.6, "gradients, through\nthe last steps", ha="left", va="center", fontsize=8.5)
    axes.set(xlim=(-0.2, 13.6), ylim=(0, 4.7), aspect="equal")
    axes.axis("off")


def chaos(figure: Figure, c: dict[str, str]) -> None:
    """Gradient descent in a well: where it ends, and the gradient of its end with respect to its beginning."""
    well = runpy.run_path(str(HERE.parent / "examples" / "chaos_in_a_well.py"))
    step_size = torch.linspace(1, 2, 500, dtype=torch.float64)
    plain = well["orbits"](step_size)
    gamma = well["tuned_damping"](plain.log_gradient[-1] / 2000)
    damped = plain.log_gradient + torch.arange(1001, 2001).unsqueeze(1) * gamma.log()
    (orbit, gradient), (well_axes, damping) = figure.subplots(2, 2)
    x = torch.linspace(2, 13, 300)
    well_axes.plot(x, well["energy"](x), color=c["ink"], lw=1.5)
    for size, colour, offset in ((1.1, c["blue"], 0.0), (1.9, c["red"], 0.0)):
        states = [torch.tensor(12.0)]
        for _ in range(25):
            states.append(well["descend"](states[-1], torch.tensor(size)))
        y = torch.stack(states)
        well_axes.plot(y, well["energy"](y) + offset, ".-", ms=5, lw=0.6, color=colour,
                       label=f"step size {size}")  # fmt: skip
    well_axes.set(
        xlabel="distance / Å", ylabel="U / kT", ylim=(-1, 15), title="C   descents in the well"
    )
    well_axes.legend(frameon=False)
    panels = (
        (orbit, plain.x, "A   iterations 1000 to 2000", "distance / Å", (2.5, 9)),
        (
            gradient,
            plain.log_gradient / math.log(10),
            "B   gradient dx(t)/dx(0)",
            "power of ten",
            (-350, 350),
        ),
        (damping, damped / math.log(10), "D   damped gradient", "power of ten", (-350, 350)),
    )
    for axes, values, title, label, limits in panels:
        some = values[torch.linspace(0, len(values) - 1, 120).long()]
        for chosen, colour in ((plain.exponent <= 0, c["blue"]), (plain.exponent > 0, c["red"])):
            axes.plot(step_size[chosen], some[:, chosen].T, ls="", marker=".", ms=1.3, mew=0, alpha=0.35,
                      color=colour, rasterized=True)  # fmt: skip
        axes.set(title=title, xlabel="step size / Å²/kT", ylabel=label, xlim=(1, 2), ylim=limits)


FIGURES: dict[str, tuple[Callable[[Figure, dict[str, str]], None], tuple[float, float]]] = {
    "unrolled": (unrolled, (11, 3.6)),
    "energy": (energy, (11, 4.6)),
    "transform": (transform, (9, 3.8)),
    "schematic": (schematic, (11, 4.0)),
    "chaos": (chaos, (10, 6)),
}


def main() -> None:
    """Draw all figures, or those named."""
    torch.set_num_threads(1)
    matplotlib.rcParams.update({"svg.hashsalt": "nemo", "font.size": 9.5, "axes.titlesize": 10})
    for name in sys.argv[1:] or FIGURES:
        draw, size = FIGURES[name]
        for theme, c in THEMES.items():
            ink = dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
                c["ink"],
            )
            with matplotlib.rc_context({**ink, "axes.facecolor": "none", "axes.spines.top": False,
                                        "axes.spines.right": False}):  # fmt: skip
                figure = Figure(figsize=size, layout="constrained", facecolor="none")
                draw(figure, c)
                path = HERE / "figures" / f"{name}-{theme}.svg"
                figure.savefig(path, dpi=130, metadata={"Date": None})
        print(f"Wrote {path.parent / name}.")


if __name__ == "__main__":
    main()
