raise KeyboardInterrupt  # HERE
