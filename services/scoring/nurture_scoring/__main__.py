"""`python -m nurture_scoring`."""

from nurture_chassis.service import run

from nurture_scoring.app import build

run(build)
