"""`python -m nurture_telegram`."""

from nurture_chassis.process import main

main("nurture_telegram.app")
