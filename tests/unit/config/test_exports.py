import holdfast.config


def test_the_face_of_the_package():
    assert holdfast.config.__all__ == [
        "Bytes",
        "ConfigMigration",
        "Defaults",
        "Duration",
        "Finding",
        "Loaded",
        "Overrides",
        "RefusedConfig",
        "Remark",
        "Section",
        "Settings",
        "attempt",
        "check_sections",
        "decode_section",
        "load",
        "main_file",
        "own_defaults",
        "placed",
        "revived",
    ]
