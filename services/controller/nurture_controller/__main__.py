"""`python -m nurture_controller`."""

from nurture_chassis.process import main

main("nurture_controller.app")
