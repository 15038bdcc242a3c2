"""Nano: a small DeepSeek-VL2 trained from nothing on synthetic pictures."""
