"""`python -m nurture_controller`."""

from nurture_chassis.service import run

from nurture_controller.app import build

run(build)
