import sys

sys.exit("no licence")  # HERE
