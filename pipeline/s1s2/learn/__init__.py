"""Learning from a corpus: pre-training on either sensor or both, and its worth with few labels.

Everything here needs the extra `learn` (torch, safetensors, tensorboard, matplotlib); the rest of
the package never imports it.
"""
