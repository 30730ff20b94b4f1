import nosuch_module  # HERE
