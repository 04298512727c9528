"""`python -m nurture_gateway`."""

from nurture_chassis.process import main

main("nurture_gateway.app")
