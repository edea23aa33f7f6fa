"""What is deployed by Helm, kustomize and hand, looked at by every tool that knows better."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from forwarder.config import load
from tests.deploy.containers import TOP
from tests.receivers.process import missing

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

KUBERNETES = TOP / "deploy" / "kubernetes"
CHART = KUBERNETES / "chart"
COMPOSE = TOP / "deploy" / "compose" / "compose.yaml"
RULES = TOP / "deploy" / "prometheus" / "soteri-forwarder.rules.yml"
VALUES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())
HELMS = ("helm3", "helm4")
CONFIG = "/etc/soteri-forwarder"
SECRETS = "/run/secrets/soteri-forwarder"
UNREADY = "a forwarder that waits is no reason to take Bitbucket's node from its users"


def run(program: str, *words: str | Path, folder: Path = TOP) -> "subprocess.CompletedProcess[str]":
    path = TOP / ".tools" / program
    if not path.exists():
        missing(f"{path} is missing: run tests/install-tools.sh")
    return subprocess.run(
        [path, *words], capture_output=True, text=True, check=False, cwd=folder, timeout=120
    )


def said(program: str, *words: str | Path) -> str:
    done = run(program, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def template(helm: str, values: str, *more: str, chart: Path = CHART) -> str:
    file = CHART / "ci" / f"{values}-values.yaml"
    return said(helm, "template", "audit", chart, "--namespace", "audit", "-f", file, *more)


def kustomized() -> str:
    return said("kubectl", "kustomize", KUBERNETES / "base")


def beside_bitbucket() -> str:
    """Return a pod as Atlassian's chart makes it of our values, without its own container."""
    values = yaml.safe_load((KUBERNETES / "atlassian-bitbucket-values.yaml").read_text())
    home = {"name": "local-home", "emptyDir": {}}
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 2003},
        "containers": values["additionalContainers"],
        "volumes": [home, *values["volumes"]["additional"]],
    }
    about = {"name": "bitbucket", "annotations": {"checkov.io/skip1": f"CKV_K8S_9={UNREADY}"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
    return yaml.safe_dump(pod)


MADE = {
    **{f"{helm}-{values}": (template, helm, values) for helm in HELMS for values in VALUES},
    "kustomize": (kustomized,),
    "sidecar": ((KUBERNETES / "sidecar.yaml").read_text,),
    "atlassian": (beside_bitbucket,),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with everything that is applied to a cluster, and the Dockerfile."""
    folder = tmp_path_factory.mktemp("made")
    for name, (make, *words) in MADE.items():
        (folder / f"{name}.yaml").write_text(make(*words))
    (folder / "Dockerfile").write_text((TOP / "Dockerfile").read_text())
    return folder


class Objects(NamedTuple):
    """All that one way of deploying makes."""

    all: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.of(kind)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The one pod, or what pods are made of."""
        for each in self.all:
            if each["kind"] == "Pod":
                return each
            if each["kind"] in {"StatefulSet", "Deployment"}:
                template: dict[str, Any] = each["spec"]["template"]
                return template
        raise AssertionError("no pod")


def objects(made: Path, name: str) -> Objects:
    text = (made / f"{name}.yaml").read_text()
    return Objects([each for each in yaml.safe_load_all(text) if each])


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("helm", HELMS)
def test_helm_finds_nothing_wrong_with_the_chart(helm: str, values: str) -> None:
    said(helm, "lint", "--strict", CHART, "-f", CHART / "ci" / f"{values}-values.yaml")


@pytest.mark.parametrize("values", VALUES)
def test_helm_3_and_4_make_the_same(values: str, made: Path) -> None:
    assert objects(made, f"helm3-{values}") == objects(made, f"helm4-{values}")


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_the_oldest_and_the_newest_kubernetes_take_it(version: str, made: Path) -> None:
    files = sorted(made.glob("*.yaml"))
    checked = said("checks/bin/kubernetes-validate", "--strict", "-k", version, *files)
    warned = {line.split(" kind ")[1].split()[0] for line in checked.splitlines() if "WARN" in line}
    assert warned <= {"ServiceMonitor", "PrometheusRule"}  # not Kubernetes' own


def test_checkov_finds_nothing_but_what_is_argued(made: Path) -> None:
    said("checks/bin/checkov", "--config-file", TOP / ".checkov.yaml", "-d", made)


def test_hadolint_finds_nothing() -> None:
    assert said("checks/bin/hadolint", TOP / "Dockerfile") == ""


def test_yamllint_finds_nothing() -> None:
    assert said("checks/bin/yamllint", "--strict", "deploy") == ""


def test_shellcheck_finds_nothing() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True
    )
    scripts = [
        TOP / name
        for name in listed.stdout.splitlines()
        if name.endswith(".sh") or name == ".ci/run"
    ]
    assert len(scripts) > 5
    said("checks/bin/shellcheck", *scripts)


@pytest.mark.parametrize("name", MADE)
def test_pods_are_as_restricted_as_kubernetes_asks(name: str, made: Path) -> None:
    """The profile "restricted" of Kubernetes' Pod Security Standards, and no token."""
    spec = objects(made, name).pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        whole = spec.get("securityContext", {}) | container["securityContext"]
        assert whole["runAsNonRoot"] is True
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        assert whole["readOnlyRootFilesystem"] is True
        assert whole["allowPrivilegeEscalation"] is False
        assert whole["capabilities"] == {"drop": ["ALL"]}


def selectors(found: Objects) -> Iterator[dict[str, str]]:
    for kind, where in (
        ("Service", ("selector",)),
        ("NetworkPolicy", ("podSelector", "matchLabels")),
        ("PodDisruptionBudget", ("selector", "matchLabels")),
        ("StatefulSet", ("selector", "matchLabels")),
        ("Deployment", ("selector", "matchLabels")),
    ):
        for each in found.of(kind):
            value = each["spec"]
            for key in where:
                value = value[key]
            yield value


@pytest.mark.parametrize("name", ["helm4-sqlite", "helm4-postgresql", "kustomize"])
def test_everything_selects_the_pods_and_the_service_is_scraped(name: str, made: Path) -> None:
    found = objects(made, name)
    labels = found.pod["metadata"]["labels"].items()
    chosen = list(selectors(found))
    assert len(chosen) == 4
    assert all(selector and selector.items() <= labels for selector in chosen)
    for monitor in found.of("ServiceMonitor"):
        asked = monitor["spec"]["selector"]["matchLabels"].items()
        assert asked <= found.one("Service")["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["helm4-sqlite", "helm4-postgresql", "kustomize", "sidecar"])
def test_the_configuration_in_the_pod_is_one_that_the_forwarder_takes(
    name: str, made: Path, tmp_path: Path
) -> None:
    found = objects(made, name)
    container = found.pod["spec"]["containers"][-1]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert {CONFIG, SECRETS, "/var/lib/soteri-forwarder"} <= set(mounts)
    text = found.one("ConfigMap")["data"]["config.toml"]
    (tmp_path / "config.toml").write_text(text)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    wanted = {
        "sources__bitbucket__token": "[sources.bitbucket]",
        "sinks__splunk__token": "[sinks.splunk]",
        "store__password": "postgresql://",
    }
    for key in (key for key, where in wanted.items() if where in text):
        (secrets / key).touch(0o400)
        (secrets / key).write_text("stand-in")
    environ = {one["name"]: one["value"] for one in container.get("env", [])}
    config = load(tmp_path / "config.toml", environ, default_secrets=secrets)
    assert config.server.listen == "0.0.0.0:9187"
    assert config.sources["bitbucket"].token.reveal() == "stand-in"


def test_sqlite_is_one_pod_with_a_volume_and_postgresql_are_many_without(made: Path) -> None:
    alone, shared = objects(made, "helm4-sqlite"), objects(made, "helm4-postgresql")
    assert alone.one("StatefulSet")["spec"]["replicas"] == 1
    (claim,) = alone.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert not alone.of("Deployment")
    assert shared.one("Deployment")["spec"]["replicas"] == 3
    assert not shared.of("StatefulSet")


@pytest.mark.parametrize("name", ["helm3-sqlite", "helm4-sqlite", "kustomize"])
def test_a_pod_that_never_became_ready_is_replaced_by_a_mended_one(name: str, made: Path) -> None:
    """Kubernetes' own documentation of StatefulSets, "Forced rollback"; kubernetes#67250."""
    assert objects(made, name).one("StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_what_is_composed_writes_only_where_docker_lets_it() -> None:
    """A new volume is root's unless the image has the folder, whose mode it then takes.

    Podman, which runs the other tests, gives it to the container's user wherever it is.
    """
    (made,) = re.findall(r"install -d -m 1777 (.+)", (TOP / "Dockerfile").read_text())
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    mounts = [mount.split(":") for service in services for mount in service["volumes"]]
    written = {folder for _, folder, *mode in mounts if mode != ["ro"]}
    assert written
    assert written <= set(made.split())


def test_there_is_a_service_account_only_where_one_is_asked_for(made: Path) -> None:
    assert not objects(made, "helm4-sqlite").of("ServiceAccount")
    assert "serviceAccountName" not in objects(made, "helm4-sqlite").pod["spec"]
    shared = objects(made, "helm4-postgresql")
    account = shared.one("ServiceAccount")
    assert shared.pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]


def test_another_configuration_replaces_the_pods_and_the_same_does_not() -> None:
    def checksum(*more: str) -> str:
        text = template("helm4", "sqlite", *more)
        pod = Objects([each for each in yaml.safe_load_all(text) if each]).pod
        return str(pod["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum("--set", "podLabels.a=b")
    assert checksum() != checksum("--set", "config=other")


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("config=", "config"),
        ("stor.kind=sqlite", "stor"),
        ("store.kind=mysql", "store"),
        ("replicas=0", "replicas"),
        ("image.digest=latest", "digest"),
        ("secrets[0].secretName=x", "secretName"),
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_a_mistake_in_the_values_is_refused_by_its_name(
    helm: str, mistake: str, named: str
) -> None:
    done = run(
        helm, "template", "x", CHART, "-f", CHART / "ci" / "sqlite-values.yaml", "--set", mistake
    )
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize("helm", HELMS)
def test_a_packaged_chart_is_whole_and_has_the_alerting_rules(helm: str, tmp_path: Path) -> None:
    said(helm, "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    text = template(helm, "postgresql", chart=package)
    rule = Objects([each for each in yaml.safe_load_all(text) if each]).one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
