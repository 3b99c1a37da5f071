"""What each peer's environment holds beside torch: versions that were installed and run together.

Installed one by one and without dependencies, torch before them and alone, so that no package's wishes choose another
build of torch: some ask for torchvision, which must be of torch's own. What imports it has a stand-in (openai_package).
"""

from __future__ import annotations

TORCH = "torch>=2.6,<2.14"
_TRANSFORMERS = (
    "transformers==4.57.6",
    "tokenizers==0.22.2",
    "huggingface-hub==0.36.2",
    "safetensors==0.8.0",
    "regex==2026.11.15",
    "requests==2.34.2",
    "charset-normalizer==3.5.2",
    "idna==3.20",
    "urllib3==2.8.0",
    "certifi==2026.10.18",
    "tqdm==4.70.1",
    "PyYAML==6.0.3",
    "packaging==26.3",
    "numpy==2.4.6",
    "pillow==13.0.0",
)
_SCIKIT_LEARN = (
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "joblib==1.6.0",
    "cloudpickle==3.1.2",
    "threadpoolctl==3.8.0",
    "narwhals==2.29.0",
)
_TORCHMETRICS = ("torchmetrics==1.9.0", "lightning-utilities==0.15.3")
_SENTENCE_TRANSFORMERS = ("sentence-transformers==5.1.2",)  # later ones need transformers 5
_CLIP = (
    "clip-anytorch==2.6.0",
    "ftfy==6.3.1",
    "wcwidth==0.9.4",
    "setuptools==69.5.1",  # with pkg_resources, which clip-anytorch imports
)
_CLIP_RETRIEVAL = ("all-clip==1.3.0", *_CLIP)  # clip-retrieval's encoders
REQUIREMENTS = {  # environment -> what pip installs
    "torchmetrics": _TRANSFORMERS + _TORCHMETRICS,
    "sentence-transformers": _TRANSFORMERS + _SCIKIT_LEARN + _SENTENCE_TRANSFORMERS,
    "clip": ("regex==2026.11.15", "tqdm==4.70.1", "numpy==2.4.6", "pillow==13.0.0", *_CLIP),
    "clip-retrieval": _TRANSFORMERS + _CLIP_RETRIEVAL,
    "torch-fidelity": ("torch-fidelity==0.4.0", "numpy==2.4.6", "scipy==1.17.1", "pillow==13.0.0", "tqdm==4.70.1"),
}
