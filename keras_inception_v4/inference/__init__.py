"""A model or an artefact over many files."""
