"""Asks for what the published OpenAPI documents describe, with made-up parameters and bodies: none may be a server's error."""

import os
import sys
import warnings

import hypothesis
import requests
import schemathesis
from kubernetes import client, config

EXAMPLES = int(os.environ.get("EXAMPLES", "2"))
# What ends by itself has an answer long before.
SECONDS_MAX = 20
# These do not end, or connect to a pod.
ENDLESS = {"watch", "follow", "timeoutSeconds"}

warnings.filterwarnings("ignore")
config.load_kube_config()
access = client.Configuration.get_default_copy()
session = requests.Session()
session.trust_env = False
session.verify = access.ssl_ca_cert
session.cert = (access.cert_file, access.key_file)

settings = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)
asked, codes, unmade = 0, {}, []


def ask(operation):
    @settings
    @hypothesis.given(case=operation.as_strategy())
    def each(case):
        global asked
        response = case.call(
            base_url=access.host, session=session, timeout=SECONDS_MAX, verify=session.verify, cert=session.cert
        )
        asked += 1
        codes[response.status_code] = codes.get(response.status_code, 0) + 1
        assert response.status_code < 500, f"{response.status_code} {response.text[:300]}\n{case.as_curl_command()}"

    each()


index = session.get(f"{access.host}/openapi/v3", timeout=SECONDS_MAX).json()
for place in index["paths"].values():
    document = session.get(access.host + place["serverRelativeURL"], timeout=SECONDS_MAX).json()
    for path in [path for path in document["paths"] if "/watch/" in path]:
        del document["paths"][path]
    for operations in document["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict) and "parameters" in operation:
                known = operation["parameters"]
                operation["parameters"] = [one for one in known if one.get("name") not in ENDLESS]
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        try:
            ask(operation)
        except (hypothesis.errors.Unsatisfiable, schemathesis.errors.InvalidSchema) as error:
            # The generator gives up on some bodies; too many would mean that nothing is tested.
            unmade.append(f"{operation.method} {operation.path}: {type(error).__name__}")

print(f"{asked} requests: {dict(sorted(codes.items()))}, not made: {len(unmade)}")
if len(unmade) > 20:
    sys.exit("\n".join(unmade))
print("done")
