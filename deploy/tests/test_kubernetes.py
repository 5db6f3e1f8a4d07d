"""The manifests: built by Kustomize, valid for Kubernetes, hardened, and about a server that exists."""

import re
import subprocess
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import kubernetes_validate
import pytest
import yaml

from conftest import BINARY, ROOT, get, run, served

FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ["single", "cluster"]
# The oldest and the newest that the package knows.
VERSIONS = ["1.34", "1.37"]
# Variables that only form others.
HELPERS = {"POD_IP", "DB_USER", "DB_PASSWORD"}

Manifest = dict[str, Any]


@cache
def built(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", FOLDER / "overlays" / overlay)))


def of_kind(overlay: str, kind: str) -> Manifest:
    (found,) = [manifest for manifest in built(overlay) if manifest["kind"] == kind]
    return found


def workload(overlay: str) -> Manifest:
    return of_kind(overlay, "StatefulSet" if overlay == "single" else "Deployment")


def container(overlay: str) -> Manifest:
    (found,) = workload(overlay)["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_the_manifests(overlay: str, version: str) -> None:
    for manifest in built(overlay):
        kubernetes_validate.validate(manifest, version, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "agentbus"
    ingress = yaml.safe_load((FOLDER / "examples/ingress.yaml").read_text())
    kubernetes_validate.validate(ingress, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_stands_in_a_manifest(overlay: str) -> None:
    assert not [manifest for manifest in built(overlay) if manifest["kind"] == "Secret"]
    secret = re.compile("PASSWORD|TOKEN|CREDS|KEY|DATABASE_URL")
    assert not [name for name in of_kind(overlay, "ConfigMap")["data"] if secret.search(name)]
    for variable in container(overlay).get("env", []):
        if secret.search(variable["name"]):
            from_secret = "secretKeyRef" in variable.get("valueFrom", {})
            assert from_secret or "$(DB_PASSWORD)" in variable["value"], variable


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_nothing_that_they_need_not(overlay: str) -> None:
    pod = workload(overlay)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(overlay)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= container(overlay)["resources"].keys()
    namespace = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_user_is_that_of_the_image(overlay: str) -> None:
    user = workload(overlay)["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"\nUSER {user}:{user}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_paths_that_the_server_has(overlay: str, paths: set[str]) -> None:
    probes = {name: container(overlay)[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    monitor = yaml.safe_load((FOLDER / "examples/pod-monitor.yaml").read_text())
    (scraped,) = monitor["spec"]["podMetricsEndpoints"]
    assert {probe["path"] for probe in probes.values()} | {scraped["path"]} <= paths
    (port,) = container(overlay)["ports"]
    assert {probe["port"] for probe in probes.values()} | {scraped["port"]} == {port["name"]}
    assert of_kind(overlay, "ConfigMap")["data"]["HTTP_ADDR"].endswith(f":{port['containerPort']}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_variables_are_settings(overlay: str, settings: set[str]) -> None:
    config = of_kind(overlay, "ConfigMap")
    assert container(overlay)["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    variables = {variable["name"] for variable in container(overlay)["env"]} | set(config["data"])
    assert variables - HELPERS <= settings
    assert config["data"]["AUTH"] == "required"


def authority(folder: Path) -> Path:
    """The file of a new authority, in place of the mounted one."""
    certificate = folder / "ca.crt"
    request = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=ca", "-keyout", "/dev/null"]
    subprocess.run([*request, "-out", str(certificate)], check=True, capture_output=True)
    return certificate


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_server_lives_with_these_settings_and_answers_probes_by_the_pods_address(
    overlay: str, tmp_path: Path
) -> None:
    """In the cluster's case without NATS and PostgreSQL: then it lives and is not ready."""
    values = {"POD_IP": "10.1.2.3", "DB_USER": "agentbus", "DB_PASSWORD": "x"}
    variables = dict(of_kind(overlay, "ConfigMap")["data"]) | values
    for variable in container(overlay)["env"]:
        text = variable.get("value", variables.get(variable["name"], "x"))
        variables[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], text)
    if "NATS_TLS_CA" in variables:
        variables["NATS_TLS_CA"] = str(authority(tmp_path))
    with served(BINARY, tmp_path, is_ready=overlay == "single", **variables) as url:
        assert get(f"{url}/livez", "10.1.2.3:8080")
        assert get(f"{url}/livez", "agentbus.agentbus.svc:8080")
        refusals = [
            ("/livez", "10.9.9.9:8080", HTTPStatus.MISDIRECTED_REQUEST),
            ("/metrics", "10.1.2.3:8080", HTTPStatus.UNAUTHORIZED),
        ]
        if overlay == "cluster":
            refusals[1] = ("/readyz", "10.1.2.3:8080", HTTPStatus.SERVICE_UNAVAILABLE)
        for path, host, status in refusals:
            with pytest.raises(HTTPError) as refused:
                get(f"{url}{path}", host)
            assert refused.value.code == status


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_time_to_stop(overlay: str) -> None:
    command = container(overlay)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    stop = int(command[1]) + int(of_kind(overlay, "ConfigMap")["data"]["DRAIN_S"]) + 10
    assert workload(overlay)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= stop


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_selects_the_pods(overlay: str) -> None:
    labels = workload(overlay)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        workload(overlay)["spec"]["selector"]["matchLabels"],
        of_kind(overlay, "Service")["spec"]["selector"],
        of_kind(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    if overlay == "cluster":
        selectors.append(of_kind(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    assert all(selector == labels for selector in selectors)


def test_one_server_has_the_file_and_several_share_nats_and_postgresql() -> None:
    assert workload("single")["spec"]["replicas"] == 1
    assert workload("cluster")["spec"]["replicas"] > 1
    volume = next(mount["mountPath"] for mount in container("single")["volumeMounts"] if mount["name"] == "data")
    assert of_kind("single", "ConfigMap")["data"]["DATA_DIR"].startswith(f"{volume}/")
    assert of_kind("cluster", "ConfigMap")["data"]["MESSAGE_BUS"] == "nats"
    ports = [
        port["port"]
        for rule in of_kind("cluster", "NetworkPolicy")["spec"]["egress"]
        for port in rule["ports"]
        if "port" in port
    ]
    assert {53, 4222, 5432} == set(ports)


def test_the_examples_name_what_the_cluster_uses() -> None:
    used = yaml.safe_dump(workload("cluster"))
    postgres = yaml.safe_load((FOLDER / "examples/postgres.yaml").read_text())
    assert f"@{postgres['metadata']['name']}-rw/" in used
    assert f"secretName: {postgres['metadata']['name']}-ca" in used
    nats = yaml.safe_load((FOLDER / "examples/nats-values.yaml").read_text())
    assert f"secretName: {nats['config']['nats']['tls']['secretName']}" in used
    password = nats["container"]["env"]["AGENTBUS_PASSWORD"]
    assert password in [
        variable.get("valueFrom") and {"valueFrom": variable["valueFrom"]} for variable in container("cluster")["env"]
    ]
    certificates = list(yaml.safe_load_all((FOLDER / "examples/nats-tls.yaml").read_text()))
    host = of_kind("cluster", "ConfigMap")["data"]["NATS_URL"].removeprefix("tls://").split(":")[0]
    assert host in certificates[-1]["spec"]["dnsNames"]
