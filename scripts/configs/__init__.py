"""The experiments and adapter configurations as tables; ../make_configs.py writes them as files."""
