"""Pictures on two grounds, and their files."""

import io

import matplotlib.image

from openmm_nemo.pages.pictures import Picture, draw_picture


def test_picture_is_drawn_on_two_grounds(tmp_path):
    inks = []

    def draw(axes, ink):
        inks.append(ink)
        axes.plot([0, 1], [1, 0], color=ink)

    picture = draw_picture("line", "A line", "It falls.", draw)
    light, dark = (
        matplotlib.image.imread(io.BytesIO(png))[..., :3] for png in (picture.light, picture.dark)
    )
    assert light[0, 0].min() == 1
    assert dark[0, 0].max() < 0.2
    assert len(set(inks)) == 2
    picture.write(tmp_path)
    assert (tmp_path / "line.png").read_bytes() == picture.light


def test_file_of_an_earlier_picture_is_removed(tmp_path):
    (tmp_path / "line.png").write_bytes(b"earlier")
    Picture("line", "A line", "There is nothing to draw.").write(tmp_path)
    assert list(tmp_path.iterdir()) == []
