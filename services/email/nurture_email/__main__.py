"""`python -m nurture_email`."""

from nurture_chassis.service import run

from nurture_email.app import build

run(build)
