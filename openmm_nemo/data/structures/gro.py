"""GROMACS .gro files, in fixed columns.

MDTraj also reads them, but replaces the names in the file, and does not open gzipped files.
"""

import re

import gemmi
import numpy as np

ANGSTROM_PER_NM = 10

_ATOM = re.compile(rb" *\d+.{5} *\S+ *\d+ *-?\d+\.\d+ *-?\d+\.\d+ *-?\d+\.\d+")


def is_gro(content: bytes) -> bool:
    """Whether the second line is a number and the third an atom."""
    lines = content.split(b"\n", 3)
    return (
        len(lines) == 4
        and lines[1].strip().isdigit()
        and _ATOM.match(lines[2]) is not None
        and b"\0" not in content
    )


def parse_gro(content: bytes) -> gemmi.Structure:
    """Return the frames as models with one unnamed chain.

    Raises
    ------
    ValueError
        If the file is cut or damaged.
    """
    lines = content.decode("latin-1").rstrip().split("\n")
    parsed = gemmi.Structure()
    start = 0
    while start < len(lines):
        count = int(lines[start + 1]) if start + 1 < len(lines) else 0
        atoms, box = lines[start + 2 : start + 2 + count], lines[start + 2 + count :][:1]
        if not count or len(atoms) < count or not box:
            raise ValueError(f"the frame at line {start + 1} has fewer lines than it claims")
        parsed.add_model(_model(atoms, len(parsed) + 1))
        if len(parsed) == 1:
            parsed.cell = _cell([float(field) for field in box[0].split()])
        start += count + 3
    return parsed


def _model(atoms: list[str], number: int) -> gemmi.Model:
    chain = gemmi.Chain("")
    # Three coordinates with as many decimals as the writer chose.
    dots = [i for i, sign in enumerate(atoms[0]) if sign == "."]
    width = dots[1] - dots[0]
    last = None
    for serial, line in enumerate(atoms):
        key = line[:10]
        if key != last:
            residue = gemmi.Residue()
            residue.name = line[5:10].strip()
            residue.seqid = gemmi.SeqId(int(line[:5]), " ")
            residue.het_flag = "A"
            chain.add_residue(residue)
            residue = chain[-1]
            last = key
        atom = gemmi.Atom()
        atom.name = line[10:15].strip()
        atom.element = gemmi.Element(atom.name.lstrip("0123456789")[:1])
        atom.serial = serial
        fields = [line[20 + i * width : 20 + (i + 1) * width] for i in range(3)]
        atom.pos = gemmi.Position(*(ANGSTROM_PER_NM * float(field) for field in fields))
        residue.add_atom(atom)
    model = gemmi.Model(number)
    model.add_chain(chain)
    return model


def _cell(box: list[float]) -> gemmi.UnitCell:
    """Return the cell of a box line: v1(x) v2(y) v3(z), and if it is triclinic v1(y) v1(z) v2(x) v2(z) v3(x) v3(y)."""
    xx, yy, zz, xy, xz, yx, yz, zx, zy = [*box, *[0.0] * (9 - len(box))]
    return cell_of(np.array([[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]]) * ANGSTROM_PER_NM)


def cell_of(vectors: np.ndarray) -> gemmi.UnitCell:
    """Return the unit cell of three box vectors (3, 3) in Angstrom; no cell if they span none."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all() or not np.isfinite(vectors).all():
        return gemmi.UnitCell()
    a, b, c = vectors / lengths[:, None]
    angles = np.degrees(np.arccos(np.clip([b @ c, a @ c, a @ b], -1, 1)))
    return gemmi.UnitCell(*lengths, *angles)
