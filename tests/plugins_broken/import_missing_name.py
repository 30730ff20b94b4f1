from holdfast.plugin import Nosuch  # HERE
