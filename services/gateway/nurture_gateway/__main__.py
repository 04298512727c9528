"""`python -m nurture_gateway`."""

from nurture_chassis.service import run

from nurture_gateway.app import build

run(build)
