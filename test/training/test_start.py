"""First weights: E-10, E-11, growing, and the classifiers of timm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from training_samples import SMALL, random_batch, small_student

from training.checkpoint import SHOWN, save_student
from training.methods.eatrack import Distillation, EATrack
from training.models.eatrack import EATrackConfig, EATrackStudent, SearchResult
from training.models.layers import resize_position_table
from training.start import Start, block_origins, initialise

TEACHER = replace(SMALL, stage1_blocks=0, stage2_blocks=8)
DEIT = EATrackConfig(search_size=64, template_size=32, head_channels=16, stage1_blocks=0, stage2_blocks=12)


def saved(folder: Path, config: EATrackConfig) -> Start:
    folder.mkdir(exist_ok=True)
    return Start(checkpoint=str(save_student(folder, small_student(config), config, {})))


def outputs(network: EATrackStudent) -> SearchResult:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        templates = torch.randn(2, 2, 3, 32, 32, generator=generator)
        return network.eval()(templates, torch.randn(2, 3, 64, 64, generator=generator))


def test_the_map_of_layers() -> None:
    """E-11: ceil(1.5 l) over 1..8; strictly increasing, last to last; growing turns the map round."""
    assert list(block_origins(8, 12).values()) == [2, 3, 5, 6, 8, 9, 11, 12]
    assert block_origins(12, 6) == {2: 1, 4: 2, 6: 3, 8: 4, 10: 5, 12: 6}
    assert block_origins(3, 3) == {1: 1, 2: 2, 3: 3}
    for blocks in range(1, 13):
        for others in range(1, 13):
            pairs = sorted(block_origins(blocks, others).items())
            assert len({b for _, b in pairs}) == min(blocks, others) and pairs[-1] == (blocks, others)


def test_a_student_of_the_teachers_depth_is_the_teacher(tmp_path: Path) -> None:
    """E-10: with S1 = 0 both branches have nothing to teach, with S1 = 3 they have."""
    start, batch = saved(tmp_path, TEACHER), random_batch(3)
    for stage1, same in [(0, True), (3, False)]:
        student = EATrackStudent(replace(TEACHER, stage1_blocks=stage1, stage2_blocks=8 - stage1))
        report = initialise(student, start)
        assert report == (start.checkpoint, (), ())
        losses = EATrack(student, small_student(TEACHER), Distillation(), "around").eval()(batch, 0.0)
        for name in ("feature", "prediction"):
            assert (losses[name].item() < 1e-9) == same, (name, losses[name])


def test_every_block_comes_from_its_depth(tmp_path: Path) -> None:
    """E-10: student blocks 1, 2, 3 from blocks 3, 6, 8 of the teacher; the rest is copied as it is."""
    source, student = small_student(TEACHER).state_dict(), EATrackStudent(SMALL)
    initialise(student, saved(tmp_path, TEACHER))
    for name, tensor in student.state_dict().items():
        part, _, rest = name.partition(".")
        block = {"stage1.0": 3, "stage2.0": 6, "stage2.1": 8}.get(f"{part}.{rest[:1]}")
        there = f"stage2.{block - 1}{rest[1:]}" if block else name
        assert torch.equal(tensor, source[there]), name


def test_position_tables_fit_the_grids_of_the_network(tmp_path: Path) -> None:
    student = EATrackStudent(replace(SMALL, search_size=96, template_size=48))
    initialise(student, saved(tmp_path, SMALL))
    source = small_student(SMALL)
    assert torch.equal(student.search_positions, resize_position_table(source.search_positions, 6))
    assert torch.equal(student.template_positions, resize_position_table(source.template_positions, 3))


def test_a_network_grows_without_forgetting(tmp_path: Path) -> None:
    """Blocks in between start as the identity: the deeper network gives the same, and they can learn."""
    deeper = EATrackStudent(replace(TEACHER, stage2_blocks=12))
    report = initialise(deeper, saved(tmp_path, TEACHER))
    assert report.idle == (1, 4, 7, 10)
    assert "blocks 1, 4, 7, 10 start as the identity" in str(report)
    before, after = outputs(small_student(TEACHER)), outputs(deeper)
    assert torch.allclose(before.tokens, after.tokens, atol=1e-5)
    assert torch.allclose(before.maps.boxes, after.maps.boxes, atol=1e-5)
    deeper(torch.randn(1, 2, 3, 32, 32), torch.randn(1, 3, 64, 64)).tokens.square().sum().backward()
    for block in report.idle:
        assert deeper.stage2[block - 1].mlp.fc2.weight.grad.abs().sum() > 0
        assert deeper.stage2[block - 1].attn.proj.weight.grad.abs().sum() > 0


def test_a_head_of_other_channels_starts_fresh_and_is_reported(tmp_path: Path) -> None:
    student = EATrackStudent(replace(SMALL, head_channels=16))
    before = {name: tensor.clone() for name, tensor in student.head.state_dict().items()}
    report = initialise(student, saved(tmp_path, SMALL))
    assert set(report.fresh) == {f"head.{name}" for name in before}
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.head.state_dict().items())
    assert torch.equal(student.search_positions, small_student(SMALL).search_positions)
    assert f"{len(before)} tensors are fresh (head.score.0.weight ... head.size" in str(report)


def test_another_architecture_is_told_by_its_tensors(tmp_path: Path) -> None:
    """The first of them with both shapes, and the count; another stem or number of heads is told too."""
    start = saved(tmp_path, replace(SMALL, width=96))
    with pytest.raises(ValueError) as error:
        initialise(EATrackStudent(SMALL), start)
    first, *lines = str(error.value).splitlines()
    assert int(first.split("; ")[1].split()[0]) > len(lines) == SHOWN
    assert first.startswith(f"{start.checkpoint} is of another architecture; ")
    assert lines[0] == "  template_positions: [1, 4, 96] in the file, [1, 4, 48] in the network"
    with pytest.raises(
        ValueError, match=r"stem.proj.weight: none in the file, \[48, 3, 16, 16\] in the network"
    ):
        initialise(EATrackStudent(replace(SMALL, stem="patch")), saved(tmp_path / "conv", SMALL))
    with pytest.raises(ValueError, match="has 3 attention heads, the network 6"):
        initialise(EATrackStudent(replace(SMALL, heads=6)), saved(tmp_path / "heads", SMALL))


def test_from_scratch_nothing_happens() -> None:
    student = EATrackStudent(SMALL)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    assert str(initialise(student, Start())) == "starts from scratch"
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def classifier(name: str, folder: Path) -> tuple[dict[str, Tensor], Start]:
    """A random classifier of timm in a file, its class positions unlike the constant rest."""
    state = timm.create_model(name, pretrained=False).state_dict()
    rows = state["pos_embed"].shape[1]
    state["pos_embed"] = torch.full((1, rows, 192), 0.25)
    state["pos_embed"][:, : rows - 196] = 9.0
    torch.save({"model": state}, folder / "weights.pth")
    return state, Start(timm=str(folder / "weights.pth"))


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "vit_tiny_patch16_224"])
def test_a_teacher_starts_from_a_classifier(name: str, tmp_path: Path) -> None:
    """Patch embedding, blocks and norm are copied, the rows of class tokens dropped, the head is fresh."""
    state, start = classifier(name, tmp_path)
    teacher = EATrackStudent(DEIT)
    report = initialise(teacher, start)
    own = teacher.state_dict()
    assert torch.equal(own["stem.proj.weight"], state["patch_embed.proj.weight"])
    for block in range(12):
        for part in ("attn.qkv.weight", "mlp.fc2.bias", "norm1.weight"):
            assert torch.equal(own[f"stage2.{block}.{part}"], state[f"blocks.{block}.{part}"])
    assert torch.equal(own["norm.weight"], state["norm.weight"])
    for table, grid in [("search_positions", 4), ("template_positions", 2)]:
        assert torch.allclose(own[table], torch.full((1, grid * grid, 192), 0.25), atol=1e-6)
    assert {fresh.split(".")[0] for fresh in report.fresh} == {"head"} and not report.idle


def test_a_student_takes_the_first_blocks_of_a_classifier(tmp_path: Path) -> None:
    state, start = classifier("deit_tiny_distilled_patch16_224", tmp_path)
    student = EATrackStudent(replace(DEIT, stage1_blocks=3, stage2_blocks=5))
    initialise(student, start)
    assert torch.equal(student.stage1[2].attn.qkv.weight, state["blocks.2.attn.qkv.weight"])
    assert torch.equal(student.stage2[4].attn.qkv.weight, state["blocks.7.attn.qkv.weight"])


def test_weights_that_do_not_fit_or_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="both checkpoint = 'a' and timm = 'b'; give one"):
        Start(checkpoint="a", timm="b")
    network = EATrackStudent(SMALL)
    with pytest.raises(ValueError, match="timm = 'deit_tinny' is neither a file nor a model of timm"):
        initialise(network, Start(timm="deit_tinny"))
    with pytest.raises(FileNotFoundError, match="none.pt"):
        initialise(network, Start(checkpoint=str(tmp_path / "none.pt")))
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    with pytest.raises(ValueError, match="text.pth is no file of weights"):
        initialise(network, Start(timm=str(text)))
    other = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="other.pth is no ViT or DeiT"):
        initialise(network, Start(timm=str(other)))

    def offline(name: str, pretrained: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match="cannot be fetched .no route to host.; give a file of them instead"):
        initialise(network, Start(timm="deit_tiny_distilled_patch16_224"))


def test_a_network_grows_wider_and_deeper_without_forgetting(tmp_path: Path) -> None:
    grown = EATrackStudent(replace(TEACHER, width=64, heads=4, head_channels=48, stage2_blocks=12))
    report = initialise(grown, saved(tmp_path, TEACHER))
    assert report.fresh == () and report.idle == (1, 4, 7, 10)
    assert torch.allclose(outputs(small_student(TEACHER)).maps.boxes, outputs(grown).maps.boxes, atol=1e-5)
    with pytest.raises(ValueError, match="heads of 16 channels cannot become heads of 32"):
        initialise(EATrackStudent(replace(TEACHER, width=64, heads=2)), saved(tmp_path, TEACHER))


def test_the_first_hidden_units_of_a_wider_mlp_are_taken(tmp_path: Path) -> None:
    """M-9: of an MLP whose other units have no say, nothing is lost."""
    source = small_student(SMALL)
    with torch.no_grad():
        for block in (*source.stage1, *source.stage2):
            block.mlp.fc2.weight[:, 96:] = 0
    start = Start(checkpoint=str(save_student(tmp_path, source, SMALL, {})))
    sliced = EATrackStudent(replace(SMALL, mlp_ratio=2.0))
    assert initialise(sliced, start).fresh == ()
    assert torch.allclose(outputs(source).maps.boxes, outputs(sliced).maps.boxes, atol=1e-6)
