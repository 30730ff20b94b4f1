from google.protobuf import descriptor_pool
from holdfast.plugins import reflection


def test_both_packages_of_the_service_can_be_described():
    reflection._add_v1_descriptor()
    reflection._add_v1_descriptor()
    found = descriptor_pool.Default().FindServiceByName(reflection.V1).methods_by_name["ServerReflectionInfo"]
    assert found.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"
    assert found.output_type.fields_by_name["file_descriptor_response"].message_type.full_name == (
        "grpc.reflection.v1.FileDescriptorResponse"
    )
