"""Benchmarks: how fast the product is beside what people use today, measured in one run on one machine."""
