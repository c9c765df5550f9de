"""Measurements of raytuner against what people use today."""
