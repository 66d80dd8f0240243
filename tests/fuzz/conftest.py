"""Fuzz targets need atheris and are run by hand, never collected."""

collect_ignore_glob = ["fuzz_*.py"]
