"""What the Python client makes of the status center; every line is compared by the test."""

import sys
import threading

from kubernetes import client, dynamic, watch

configuration = client.Configuration()
configuration.host = sys.argv[1]
KIND = ("status.rollcall", "v1", "virtualmachines")
custom = client.CustomObjectsApi(client.ApiClient(configuration))


def word(vm):
    return f"{vm['metadata']['name']}:{vm['status'].get('state')}"


listed = custom.list_cluster_custom_object(*KIND)
print("list", *sorted(word(vm) for vm in listed["items"]), flush=True)
some = custom.list_cluster_custom_object(*KIND, field_selector="status.state=stopped")
print("selected", *sorted(word(vm) for vm in some["items"]), flush=True)

told = []
patched = threading.Event()


def listen():
    for event in watch.Watch().stream(custom.list_cluster_custom_object, *KIND):
        told.append(f"{event['type']} {word(event['object'])}")
        if len(told) == 2:
            patched.set()
        if event["type"] == "MODIFIED":
            return


listener = threading.Thread(target=listen, daemon=True)
listener.start()
patched.wait(20)
kinds = dynamic.DynamicClient(client.ApiClient(configuration)).resources
vms = kinds.get(api_version="status.rollcall/v1", kind="VirtualMachine")
answer = vms.patch(
    name="1",
    body={"status": {"state": "stopping"}},
    content_type="application/merge-patch+json",
)
print("patch", f"{answer.metadata.name}:{answer.status.state}", flush=True)
listener.join(20)
print("watch", *sorted(told), flush=True)

try:
    for event in watch.Watch().stream(
        custom.list_cluster_custom_object, *KIND, resource_version="1", timeout_seconds=5
    ):
        print("event", event["type"], flush=True)
except client.ApiException as error:
    print("gone", error.status, flush=True)
try:
    custom.get_cluster_custom_object(*KIND, "9")
except client.ApiException as error:
    print("missing", error.status, error.reason, flush=True)
