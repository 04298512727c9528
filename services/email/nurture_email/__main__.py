"""`python -m nurture_email`."""

from nurture_chassis.process import main

main("nurture_email.app")
