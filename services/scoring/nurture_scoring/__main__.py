"""`python -m nurture_scoring`."""

from nurture_chassis.process import main

main("nurture_scoring.app")
