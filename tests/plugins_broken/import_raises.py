raise ValueError("torn")  # HERE
