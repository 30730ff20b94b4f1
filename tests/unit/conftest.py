from hypothesis import settings

settings.register_profile("holdfast", deadline=None)  # a machine under load is no failure; a case has pytest's timeout
settings.load_profile("holdfast")
