"""Runs the command line: ``python -m facefake``."""

from facefake.cli import main

main(prog_name="facefake")
