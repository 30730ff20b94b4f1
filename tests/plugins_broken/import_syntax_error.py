def broken(:  # HERE
    pass
