"""launch/gke_jobset.yaml against JobSet's schema, and shellcheck on all scripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet
from pydantic import ValidationError

LAUNCH = Path(__file__).parent.parent / "launch"


def jobset() -> dict:
    return yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())


def check(document: dict) -> None:
    """Against the models generated from JobSet's openAPI schema, down to the pod; no field that it does not have."""
    (container,) = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    for quantity in container["resources"].pop("limits").values():  # the generated model takes no quantity at all
        assert isinstance(quantity, int)
    JobsetV1alpha2JobSet.model_validate(document, extra="forbid", by_alias=True, by_name=False)


def test_jobset_fits_the_schema():
    document = jobset()
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    check(document)
    policy = document["spec"]["failurePolicy"]
    assert policy["restartStrategy"] in ("Recreate", "BlockingRecreate")  # choices that the models leave out
    for rule in policy["rules"]:
        assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "failurePolicy", "maxRestart"], 3),
        (["spec", "failurePolicy", "maxRestarts"], "3"),
        (["spec", "replicatedJobs", 0, "template", "spec", "paralelism"], 4),
        (["spec", "replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0, "cmd"], ["true"]),
        (["spec", "replicatedJobs", 0, "name"], None),
    ],
)
def test_jobset_schema_notices_faults(path, value):
    document = place = jobset()
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        check(document)


def test_jobset_goes_with_its_slice_and_with_restart_sh():
    spec = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod_spec = spec["template"]["spec"]
    (container,) = pod_spec["containers"]
    chips = 1
    for side in pod_spec["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"):
        chips *= int(side)
    per_machine = container["resources"]["limits"]["google.com/tpu"]
    assert spec["completions"] == spec["parallelism"] == chips // per_machine
    (codes,) = re.findall(r"case \$code in ([\d |]+)\) exit", (LAUNCH / "restart.sh").read_text())
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert {0, *rule["onExitCodes"]["values"]} == {int(code) for code in codes.split("|")}
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert {volume["name"] for volume in pod_spec["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    workdir = next(a for a in container["args"] if a.startswith("--workdir="))
    assert workdir.removeprefix("--workdir=").startswith(container["volumeMounts"][0]["mountPath"])


@pytest.mark.parametrize("script", [*sorted(LAUNCH.glob("*.sh")), LAUNCH / "slurm.sbatch"], ids=lambda p: p.name)
def test_shellcheck(script):
    assert script.is_file() and os.access(script, os.X_OK) == (script.suffix == ".sh")
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
