"""The local store: BentoML's folder, written safely."""
