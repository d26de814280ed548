"""Names of residues and atoms in structure files: one table of what each residue is.

gemmi knows the most common residues of the Chemical Component Dictionary, and MDTraj about 700 more modified amino
acids. The table here adds what they lack: the names that the AMBER, CHARMM, GROMOS and OPLS force fields, and the
programs around them, use for the same residues. Sources: GROMACS' ``residuetypes.dat``, the residue templates of
OpenMM's AMBER, CHARMM and AMOEBA force fields, and ParmEd's tables.
"""

import functools
import re
from enum import StrEnum
from typing import NamedTuple

import gemmi
import mdtraj as md

from openmm_nemo.residues import AMINO_ACIDS, RARE_PARENTS, THREE_LETTER

SIDE_CHAIN_ATOMS = {
    "A": 1, "C": 2, "D": 4, "E": 5, "F": 7, "G": 0, "H": 6, "I": 4, "K": 5, "L": 4,
    "M": 4, "N": 4, "P": 3, "Q": 5, "R": 7, "S": 2, "T": 3, "V": 3, "W": 10, "Y": 8,
}  # fmt: skip
"""Heavy atoms beyond N, CA, C and O."""

BACKBONE = ("N", "CA", "C", "O")
TERMINAL_OXYGENS = {"OXT", "OT1", "OT2", "OC1", "OC2", "O1", "O2"}
STANDARD = {name: letter for letter, name in THREE_LETTER.items()}


class Kind(StrEnum):
    """Kind of a residue."""

    AMINO_ACID = "amino acid"
    D_AMINO_ACID = "D-amino acid"
    CAP = "cap"
    NUCLEOTIDE = "nucleotide"
    SUGAR = "sugar"
    SOLVENT = "solvent molecule"
    ION = "ion"
    LIPID = "lipid"
    ADDITIVE = "additive"
    LIGAND = "ligand"


AMINO_ACID_KINDS = (Kind.AMINO_ACID, Kind.D_AMINO_ACID)


class ResidueName(NamedTuple):
    """Meaning of a residue name.

    Attributes
    ----------
    kind : Kind
    letter : str
        One of the twenty amino acids: the residue itself or its parent; empty if there is none.
    modified : bool
        Whether it is an amino acid whose heavy atoms differ from its parent's.
    """

    kind: Kind
    letter: str = ""
    modified: bool = False


# Protonation states, disulphides and the like: the heavy atoms are those of the parent.
_VARIANTS = {
    "R": "ARGN ARN ARG+",
    "N": "ASN1 NLN",
    "D": "ASH ASPH ASPP ASP1 ASP- AS4",
    "C": "CYM CYX CYN CYD CYS1 CYS2 CYSH CYSD CYSS CYSX",
    "E": "GLH GLUH GLUP GLU1 GLU- GL4",
    "H": "HID HIE HIP HIN HSD HSE HSP HISA HISB HISD HISE HISH HISP HIS1 HIS2 HISN HIST HIS+",
    "K": "LYN LYP LYD LSN LYSH LYSN LYSP LYS+",
    "F": "PHEH PHEU",
    "S": "OLS",  # with a sugar (GLYCAM), as are NLN and OLT
    "T": "OLT",
    "W": "TRPH TRPU",
    "Y": "TYM TYD TYRH TYRU TYRO TYRD",
}

_MODIFIED = {
    "C": "CYSP CYSF CYSG CYSL",  # with lipids (CHARMM)
    "G": "GLYM",
    "K": "LYR KCX",
    "L": "MELEU",
    "V": "MEVAL",
    "E": "PGLU",
    "P": "HYP OLP",
    # Phosphates with one or no proton (AMBER's phosaa); SEP, TPO and PTR are in the dictionary.
    "H": "H1D H2D H1E H2E",
    "S": "S1P",
    "T": "T1P",
    "Y": "Y1P",
}

_OTHERS = {
    Kind.CAP: "ACE NME NMA NAC NHE NHH NH2 CT1 CT2 CT3 FOR BOC CBZ OHE",
    Kind.SOLVENT: """
        HOH DOD WAT H2O OH2 OHH HHO SOL WATR
        TIP TIP2 TIP3 TIP4 TIP5 TP3 TP4 TP5 T3P T4P T5P T3H T4E T4PE TIP3P TIP4P TIP5P TP4E TP3B TP3F TP45 TP5E TIPS
        SPC SPCE SPCF SPC2 SPG OPC OPC3 SWM4 SWM6 S4P W PW
        MOH MEOH EOH ETOH IPA DMS DMSO DMF ACN CHL3 CCL4 TFE TFET DCM URE UREA ACT2 CHX HEX OCT OCO
    """,
    Kind.ION: """
        LI LIT NA SOD K POT RB RUB CS CES F CL CLA BR I IOD MG CA CAL SR BA BAR ZN MN MN3 FE FE2 CO 3CO NI 3NI
        CU CU1 CD HG AG AL PB PT PD AU CR V U4 LA CE PR ND SM EU EU3 GD GD3 TB DY ER TM YB YB2 LU TH HF IN TL Y Y1 YT3
        RA PU SN BE ZR MK NE
        IP IM IB IB+ NH4 H3O OH SO4 PO4 PI NO3 NO2 CO3 BCT SCN AZI AZID CLO PER
        ZN2 CD2 MG2 CA2 MN2 CO2 NI2 FE3 CU2 CIO CIP CAT ION QC QK HG2 BA2 SR2 AG1 TL1
    """,
    Kind.LIPID: """
        CHL1 CHOL CHL CLR CHNS CHM1 ERG SITO STIG SDS DPC TPC DHPC LMPG LPPC LPPE DDM BDDM LMNG
        PSM SSM OSM ASM BSM LSM NSM 23SM CER CER1 CER2 CER3 CER160 CER180 CER181 CER200 CER220 CER241
        TOCL TLCL TMCL PMCL TXCL PVCL LOACL LOCCL DPP POP DLP DMP DOP
        PA PC PE PS PGR PGS PH- OL MY LAL ST AR DHA SPM
        PCW POV PX4 PEE PEF PEV PEH PLC PLM LPP CDL 3PE PGV PTY OLC OLA OLB OLE MYR LHG LMG LMU LMN PSF P5S PEK
        PIO PIP2 LPE UND D10 D12 BOG HTG LDA LMT
    """,
    Kind.NUCLEOTIDE: """
        DA DC DG DT DU DI A C G U N DN RA RC RG RU RT ADE CYT GUA THY URA
        DA3 DA5 DAN DC3 DC5 DCN DG3 DG5 DGN DT3 DT5 DTN
        A3 A5 AN C3 C5 CN G3 G5 GN U3 U5 UN
        RA3 RA5 RAN RC3 RC5 RCN RG3 RG5 RGN RU3 RU5 RUN RT3 RT5 RTN DADE DCYT DGUA DTHY
    """,
    Kind.SUGAR: """
        AGLC BGLC AMAN BMAN AGAL BGAL AFUC BFUC AXYL BXYL BGLCNA AGLCNA BGLN AGLN ANE5AC ANE5
        NAG NDG BMA MAN FUC GAL GLA GLC BGC SIA FUL XYS XYP RAM RIB
        0GA 0GB 4GA 4GB 0YA 0YB 4YA 4YB UYB VMB 0MA 0MB 2MA 3MA 6MA VMA 0FA 0LA 0LB 3LB 6LB 0SA 0SB ROH OME
    """,
    Kind.LIGAND: """
        ACP ADP ATP AMP AP5 GDP GTP GNP GSP GMP ANP UDP CTP NAD NADH NADP NDPH NAI NAP NDP NDPH FAD FMN FMNH
        HEM HEME HEC HEA HEO HEMC PLP LIG UNL UNK1 DRG INH MOL SAH SAM COA ACO RET RTL BCL CLA1 CHLA BCR SF4 FES
        O2 CO2 N2 XE KR AR1 DUM
    """,
}

_OTHER_KINDS = {name: kind for kind, names in _OTHERS.items() for name in names.split()}

# Two tails (one letter each in CHARMM, AMBER and Slipids), the head group, and the number of phosphates.
_PHOSPHOLIPID = re.compile(
    r"(D[A-Z]|P[ADEHLMNOPQSVY]|S[ADLOP]|L[ALMOP]|O[OPS]|AP|IP|QM|Y[OP])P[CEGSAI](\d.?)?"
)

# An element and its charge: NA+, Cl-, MG2+, CA+2; CHARMM writes MG2P.
_CHARGED_ELEMENT = re.compile(r"([A-Z]{1,2})(\d?[+-]|[+-]\d|\dP)")


def _table() -> dict[str, ResidueName]:
    table = {name: ResidueName(kind) for name, kind in _OTHER_KINDS.items()}
    for name, letter in STANDARD.items():
        table[name] = ResidueName(Kind.AMINO_ACID, letter)
        table["D" + name] = ResidueName(Kind.D_AMINO_ACID, letter)
    for groups, modified in ((_VARIANTS, False), (_MODIFIED, True)):
        for letter, names in groups.items():
            table |= dict.fromkeys(names.split(), ResidueName(Kind.AMINO_ACID, letter, modified))
            for name in names.split():
                table["D" + name] = ResidueName(Kind.D_AMINO_ACID, letter, modified)
    return table


_TABLE = _table()


@functools.cache
def look_up(name: str) -> ResidueName | None:
    """Return the meaning of a residue name, or None if no table has it."""
    name = name.strip().upper()
    known = _TABLE.get(name)
    tabulated = gemmi.find_tabulated_residue(name)
    if known is not None and known.kind in AMINO_ACID_KINDS:
        return known  # HIP is phosphohistidine in the dictionary but protonated histidine in force fields
    if tabulated.found() and tabulated.is_amino_acid():
        d_form = tabulated.kind == gemmi.ResidueKind.AAD
        kind = Kind.D_AMINO_ACID if d_form else Kind.AMINO_ACID
        return ResidueName(kind, _twenty(tabulated.one_letter_code), modified=True)
    if known is not None:
        return known
    # AMBER and GROMACS prefix the names of terminal residues with a letter, as in NASN and CSER.
    at_end = _end_of_chain(name)
    if at_end is not None:
        return at_end
    if _PHOSPHOLIPID.fullmatch(name):
        return ResidueName(Kind.LIPID)
    charged = _CHARGED_ELEMENT.fullmatch(name)
    if charged and gemmi.Element(charged[1]).atomic_number > 0:
        return ResidueName(Kind.ION)
    if tabulated.found() and tabulated.kind in _GEMMI_KINDS:
        return ResidueName(_GEMMI_KINDS[tabulated.kind])
    code = md.Topology().add_residue(name, md.Topology().add_chain()).code
    return ResidueName(Kind.AMINO_ACID, _twenty(code), modified=True) if code else None


def _end_of_chain(name: str) -> ResidueName | None:
    residue = name[1:]
    if name[:1] not in ("N", "C") or len(residue) < 3:
        return None
    tabulated = gemmi.find_tabulated_residue(residue)
    if residue not in _TABLE and not (tabulated.found() and tabulated.is_amino_acid()):
        return None
    known = look_up(residue)
    return known if known is not None and known.kind == Kind.AMINO_ACID else None


def _twenty(code: str) -> str:
    """Return the one of the twenty letters that a one-letter code stands for, or an empty string."""
    letter = code.strip().upper()
    letter = RARE_PARENTS.get(letter, letter)
    return letter if letter in AMINO_ACIDS else ""


_GEMMI_KINDS = {
    gemmi.ResidueKind.RNA: Kind.NUCLEOTIDE,
    gemmi.ResidueKind.DNA: Kind.NUCLEOTIDE,
    gemmi.ResidueKind.BUF: Kind.ADDITIVE,
    gemmi.ResidueKind.HOH: Kind.SOLVENT,
    gemmi.ResidueKind.PYR: Kind.SUGAR,
    gemmi.ResidueKind.KET: Kind.SUGAR,
    gemmi.ResidueKind.ELS: Kind.LIGAND,
}


def kind_of(residue: gemmi.Residue) -> Kind:
    """Return the kind of a residue by its name, or by its atoms if the name is unknown or misleading."""
    known = look_up(residue.name)
    if known is not None and known.kind not in AMINO_ACID_KINDS:
        return known.kind
    if known is not None:
        # Amino acids of force fields are other molecules in the Chemical Component Dictionary (TYD, HSD), and DGN is
        # D-glutamine there and a nucleoside of AMBER.
        name = residue.name.upper()
        if name in STANDARD or "CA" in residue or ("N" in residue and "C" in residue):
            return known.kind
        return _OTHER_KINDS.get(name, Kind.LIGAND)
    elements = [atom.element.name for atom in residue if not atom.is_hydrogen()]
    if set(elements) == {"O"} and len(residue) in (1, 3):
        return Kind.SOLVENT
    if len(residue) == 1 and elements and elements[0] not in {"C", "N", "P", "S", "X"}:
        return Kind.ION
    if all(name in residue for name in _RING_OF_HEXOSE):
        return Kind.SUGAR
    return Kind.LIGAND


_RING_OF_HEXOSE = ("C1", "C2", "C3", "C4", "C5", "O5")


def copies(residue: gemmi.Residue) -> int:
    """Return how many molecules a residue in the file is: programs give thousands of waters the same number.

    Then the sequence of its atoms repeats; a name may also occur several times in one molecule, as in O, H, H.
    """
    atoms = [(atom.name, atom.altloc) for atom in residue]
    count = len(atoms)
    periods = (
        size
        for size in range(1, count + 1)
        if count % size == 0 and atoms[size:] == atoms[: count - size]
    )
    period = next(periods, 1)
    return count // period


def may_be_amino_acid(residue: gemmi.Residue) -> bool:
    """Whether a residue is an amino acid by its name, or may be one under another name by its backbone.

    The backbone is N, CA and C, which a cap never has; in a trace it is CA, if the name is not that of a cap or an ion.
    """
    kind = kind_of(residue)
    names = {atom.name for atom in residue}
    return (
        kind in AMINO_ACID_KINDS
        or names >= {"N", "CA", "C"}
        or (names == {"CA"} and kind not in (Kind.CAP, Kind.ION))
    )


def is_amino_acid(name: str) -> bool:
    """Whether a residue name belongs to an amino acid, standard or modified."""
    known = look_up(name)
    return known is not None and known.kind in AMINO_ACID_KINDS


def parent(name: str) -> str:
    """Return the one-letter code of an L-amino acid or of its parent, or an empty string."""
    known = look_up(name)
    return known.letter if known is not None and known.kind == Kind.AMINO_ACID else ""


def is_modified(name: str) -> bool:
    """Whether the heavy atoms of an amino acid differ from those of the twenty; true for unknown names."""
    known = look_up(name)
    return known is None or known.modified


def element(residue_name: str, atom: gemmi.Atom) -> gemmi.Element:
    """Return the element, from the atom's name where that is unambiguous.

    Files without element columns and with shifted names make gemmi read CA as calcium.
    """
    if is_amino_acid(residue_name) and not is_modified(residue_name):
        return gemmi.Element(atom.name.lstrip("0123456789")[:1])
    return atom.element
