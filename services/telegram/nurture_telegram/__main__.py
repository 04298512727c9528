"""`python -m nurture_telegram`."""

from nurture_chassis.service import run

from nurture_telegram.app import build

run(build)
