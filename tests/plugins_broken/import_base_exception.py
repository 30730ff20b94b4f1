class Odd(BaseException):
    pass


raise Odd("at import")  # HERE
