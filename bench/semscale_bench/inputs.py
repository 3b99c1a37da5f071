"""What encoders are given in the cases that run without one."""

from semscale.model import Preprocess

VIT = Preprocess(224, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # of CLIP's ViT-B/32, B/16 and L/14
