"""The source of a structure in a record."""

import json
from dataclasses import asdict
from pathlib import Path

from openmm_nemo.data import read_structure
from openmm_nemo.data.structures import join_chains
from openmm_nemo.runs.source import SourceStructure

EXAMPLE = Path(__file__).parents[3] / "examples" / "data" / "1l2y.pdb"


def test_source_is_the_same_after_json(tmp_path):
    source = SourceStructure.of(read_structure(EXAMPLE, residues="3-9", model_index=2), [EXAMPLE])
    assert SourceStructure.parse(json.loads(json.dumps(asdict(source)))) == source
    assert (source.chain, source.model_index, source.segment, source.frame) == ("A", 2, "3-9", None)
    assert source.numbering.residue_ids == tuple("3456789")
    assert SourceStructure.parse(None) is None


def test_a_complex_keeps_its_chains():
    file = EXAMPLE.parents[2] / "tests" / "data" / "20_2hpf.pdb.gz"
    chains = [read_structure(file, name, residues="2-9") for name in "BA"]
    source = SourceStructure.of(join_chains(chains), [file])
    assert SourceStructure.parse(json.loads(json.dumps(asdict(source)))) == source
    assert (source.chain, source.segment, source.chain_lengths) == ("B:A", "2-9:2-9", [8, 8])
    assert [chain.chain for chain in source.numbering.chains] == ["B", "A"]
    assert source.numbering.residue_ids == 2 * tuple("23456789")


def test_changed_files_are_named(tmp_path):
    copy = tmp_path / "mine.pdb"
    copy.write_bytes(EXAMPLE.read_bytes())
    source = SourceStructure.of(read_structure(copy), [copy])
    assert source.changed_files() == []
    copy.write_text("REMARK\n" + EXAMPLE.read_text())
    assert source.changed_files() == ["mine.pdb"]
    copy.unlink()
    assert source.changed_files() == []
