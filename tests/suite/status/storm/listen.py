"""Lists, watches, and begins anew when it must, as docs/clients.md says; prints what it believes."""

import json
import sys
import time

import urllib3
from kubernetes import client, watch

configuration = client.Configuration()
configuration.host = sys.argv[1]
custom = client.CustomObjectsApi(client.ApiClient(configuration))
KIND = ("status.rollcall", "v1", "virtualmachines")
SELECTOR = sys.argv[2]


def tell(is_reset, believed):
    print(json.dumps([is_reset, believed]), flush=True)


def listen():
    listed = custom.list_cluster_custom_object(*KIND, field_selector=SELECTOR)
    believed = {vm["metadata"]["name"]: vm["status"]["state"] for vm in listed["items"]}
    tell(True, believed)
    version = listed["metadata"]["resourceVersion"]
    for event in watch.Watch().stream(
        custom.list_cluster_custom_object, *KIND, field_selector=SELECTOR, resource_version=version
    ):
        name = event["object"]["metadata"]["name"]
        if event["type"] == "DELETED":
            believed.pop(name, None)
        else:
            believed[name] = event["object"]["status"]["state"]
        tell(False, believed)


while True:
    try:
        listen()
    except (client.ApiException, urllib3.exceptions.HTTPError):
        time.sleep(0.2)  # gone, or not there: begin anew
