"""The one place for Nano's sizes. Every width is a multiple of 16, which suits the kernels."""

from .geometry import Geometry
from .lm_config import LanguageConfig

IMAGE_SIZE = 192
PATCH = 12
CANDIDATES = [[IMAGE_SIZE, IMAGE_SIZE]]
GEOMETRY = Geometry(IMAGE_SIZE, PATCH, 2, tuple(tuple(pair) for pair in CANDIDATES))

VISION = {
    "image_size": IMAGE_SIZE, "patch_size": PATCH, "width": 160, "layers": 5, "heads": 5,
    "mlp_ratio": 3,
}
WIDTH = 160
PROJECTOR = {"model_type": "mlp_projector", "n_embed": WIDTH, "input_dim": VISION["width"]}
LANGUAGE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV2Config",
        "AutoModel": "modeling_deepseek.DeepseekV2Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV2ForCausalLM",
    },
    "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 1, "lm_head": True,
    "max_position_embeddings": 4096, "model_type": "deepseek_v2", "n_group": 1, "topk_group": 1,
    "n_shared_experts": 2, "rm_head": False, "topk_method": "greedy", "scoring_func": "softmax",
    "norm_topk_prob": True, "torch_dtype": "bfloat16", "use_mla": True, "q_lora_rank": None,
    "hidden_size": WIDTH, "intermediate_size": 384, "moe_intermediate_size": 48,
    "n_routed_experts": 16, "num_experts_per_tok": 4, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 4, "kv_lora_rank": 64,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 48, "vocab_size": 2784,
}
MODEL = {
    "architectures": ["DeepseekVLV2ForCausalLM"],
    "auto_map": {"AutoConfig": "modeling_deepseek_vl_v2.DeepseekVLV2Config"},
    "candidate_resolutions": CANDIDATES, "global_view_pos": "head", "language_config": LANGUAGE,
    "model_type": "deepseek_vl_v2", "projector_config": PROJECTOR, "tile_tag": "2D",
    "torch_dtype": "bfloat16", "transformers_version": "4.38.2",
    "vision_config": {**VISION, "model_name": "siglip_so400m_patch14_384", "model_type": "vision"},
}
PROCESSOR = {
    "add_special_token": False, "candidate_resolutions": CANDIDATES, "downsample_ratio": 2,
    "ignore_id": -100, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_token": "<image>",
    "mask_prompt": False, "normalize": True, "pad_token": "<｜▁pad▁｜>", "patch_size": PATCH,
    "processor_class": "DeepseekVLV2Processor", "sft_format": "deepseek",
}
TOKENIZER = {
    "add_bos_token": False, "add_eos_token": False,
    "additional_special_tokens": ["<|User|>", "<|Assistant|>"],
    "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": 4096,
    "processor_class": "DeepseekVLV2Processor", "sp_model_kwargs": {},
    "tokenizer_class": "LlamaTokenizer", "unk_token": None, "use_default_system_prompt": False,
}


def language_config() -> LanguageConfig:
    return LanguageConfig.from_json(LANGUAGE)
