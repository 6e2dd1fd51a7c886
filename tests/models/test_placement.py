"""`load_model(device_map=...)`: what is no place for layers is refused before anything is read."""

import json
from pathlib import Path

import pytest
import tiny
import torch

from painters_interp import load_model
from painters_interp.cli.options import loaded
from painters_interp.errors import ModelError, PaintersError
from painters_interp.models import weights_digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("placed") / "llama")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device_map": "everywhere"}, "not one of auto, balanced, balanced_low_0, sequential"),
        ({"device_map": "cpu"}, "give device=..."),
        ({"device_map": "auto", "device": "cpu"}, "give one of the two"),
        ({"device_map": {"": "tpu"}}, "'tpu' cannot be used here"),
        ({"device_map": {"": "meta"}}, "holds no numbers"),
        ({"device_map": {"": 99}}, "'cuda:99' cannot be used here"),
        ({"device_map": {"model": "disk"}}, "cannot be loaded.*lm_head"),
        ({"offload_folder": "x"}, "is for a device_map"),
    ],
)
def test_no_place_is_refused_in_one_line(options, reason, folder):
    with pytest.raises(ModelError, match=reason) as refused:
        load_model(folder, **options)
    assert "\n" not in str(refused.value)


def test_a_model_in_memory_stays_where_it_is(tiny_folder):
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.raises(ModelError, match="device_map='auto' applies to models that are loaded"):
        load_model(model, device_map="auto")


def test_everything_on_the_only_device_is_a_whole_model(folder):
    model = load_model(folder, device_map="auto", dtype="bfloat16")
    assert {(p.device.type, p.dtype) for p in model.original_model.parameters()} == {
        ("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16)
    }
    assert not model.original_model.training


def test_a_tied_model_has_one_digest_wherever_its_weights_lie(tmp_path):
    folder = tiny.save("qwen3", tmp_path / "tied")
    whole = weights_digest(load_model(folder))
    parted = load_model(folder, device_map={"model": "disk", "lm_head": "disk"})
    names = [name for name, _ in parted.original_model.named_parameters()]
    assert any(name.startswith("lm_head") for name in names)  # accelerate has parted them
    assert weights_digest(parted) == whole
    other = load_model(folder)
    other.original_model.lm_head.weight = torch.nn.Parameter(whole_weight(other) + 1)
    assert weights_digest(other) != whole


def whole_weight(model):
    return model.original_model.get_output_embeddings().weight.detach().clone()


def test_what_torchao_quantised_is_loaded_in_its_own_format_alone(tmp_path):
    folder = tiny.save("llama", tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    config |= {"dtype": "bfloat16", "quantization_config": {"quant_method": "torchao"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="multiplies its weights in bfloat16 alone"):
        load_model(folder, dtype="float32")


def test_the_command_line_takes_a_way_or_a_file(folder, tmp_path):
    path = tmp_path / "spread.json"
    path.write_text(json.dumps({"model": "disk", "lm_head": "cpu"}))
    model = loaded(str(folder), str(path), None)
    assert all(weight.is_meta for weight in model.blocks.parameters())
    assert model("abc").isfinite().all()
    for written, reason in (
        ("[]", "is no device map"),
        ('{"": "tpu"}', "'tpu' cannot be used"),
        ("{", "cannot be read as a device map"),
        ('{"": null}', "is no device map"),
    ):
        path.write_text(written)
        with pytest.raises(PaintersError, match=reason):
            loaded(str(folder), str(path), None)
    with pytest.raises(PaintersError, match="No such file"):
        loaded(str(folder), str(tmp_path / "none.json"), None)
