import holdfast.config


def test_the_face_of_the_package():
    assert holdfast.config.__all__ == [
        "Bytes",
        "Defaults",
        "Duration",
        "Finding",
        "Loaded",
        "Overrides",
        "Remark",
        "Section",
        "Settings",
        "check_sections",
        "decode_section",
        "load",
        "own_defaults",
        "placed",
    ]
