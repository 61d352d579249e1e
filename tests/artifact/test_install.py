"""What is installed: the wheel, requirements.lock, environment.yml, and run_all.sh's .venv."""

from __future__ import annotations

import ast
import contextlib
import email
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires

import pytest
import yaml
from packaging.requirements import Requirement

import nvlib
from artifact.paths import ROOT

CORE = {"numba", "numpy", "pandas", "pyyaml", "safetensors", "scipy", "torch", "tqdm"}
LOCK = (ROOT / "requirements.lock").read_text()


def run(*command, **options):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, **options
    )


def pip(*arguments, **options):
    done = run(sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def name_of(requirement):
    return Requirement(requirement).name.lower().replace("_", "-")


def pins(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what pip reads of the checkout: building leaves files behind."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "requirements.lock", "environment.yml"):
        shutil.copy(ROOT / name, folder)
    skip = shutil.ignore_patterns("__pycache__", ".numba_cache")
    for name in ("nvlib", "artifact"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    return folder


# The wheel


@pytest.fixture(scope="module")
def wheel(checkout):
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", checkout / "dist", checkout)
    (path,) = (checkout / "dist").iterdir()
    return path


def test_the_wheel_is_the_simulator_and_all_of_it(wheel, checkout):
    files = {str(path.relative_to(checkout)) for path in checkout.glob("nvlib/**/*.*")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files
    assert {"nvlib/py.typed", "nvlib/lenet5-W4A3.safetensors"} <= held


def test_the_wheel_asks_for_eight_packages(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    assert {name_of(str(each)) for each in asked if each.marker is None} == CORE
    assert set(metadata.get_all("Provides-Extra")) == {"artifact", "cluster", "test", "zoo"}


def test_nvlib_imports_only_what_comes_along(checkout):
    imported = set()
    for path in checkout.glob("nvlib/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= set(sys.stdlib_module_names)
    assert imported <= CORE - {"pyyaml"} | {"nvlib", "yaml", "llvmlite"}, imported


def test_the_wheel_runs_in_an_empty_folder(wheel, tmp_path):
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    # torch and the others come from this environment.
    (example,) = re.findall(
        r"```python\n(from nvlib import Adc.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    example += "import nvlib; print(nvlib.__version__); print(nvlib.__file__)"
    done = run(
        sys.executable, "-c", example, cwd=empty, env={**os.environ, "PYTHONPATH": str(target)}
    )
    assert done.returncode == 0, done.stderr
    digits, version, place = done.stdout.splitlines()
    assert digits == "[0 1 2 3 4 5 6 7 8 9]"
    assert version in wheel.name
    assert place == str(target / "nvlib" / "__init__.py")


def test_an_editable_install_gives_artifact_too(checkout, tmp_path):
    build = f"import setuptools.build_meta as backend; backend.build_editable({str(tmp_path)!r})"
    done = run(sys.executable, "-c", build, cwd=checkout)
    assert done.returncode == 0, done.stderr
    archive = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
    assert archive.read(name).decode().strip() == str(checkout)


def test_artifact_imports_wherever_kernels_and_workers_start(tmp_path):
    code = (
        "import artifact.reproduce, joblib\n"
        "find = joblib.delayed(__import__)\n"
        "print(*[m.__name__ for m in joblib.Parallel(2)([find('artifact'), find('nvlib')])])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = run(sys.executable, "-c", code, cwd=tmp_path, env=environment)
    assert done.stdout.split() == ["artifact", "nvlib"], done.stderr


# Lock, project, environment.yml, README


def come_along(names):
    """Names of the installed packages that `names` pull in, themselves included."""
    found, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        package = waiting.pop()
        name = name_of(str(package))
        if name in found or name.startswith(("nvidia-", "cuda-", "triton")):
            continue  # the CUDA build of torch brings more; the number is that of the other
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            raise AssertionError(f"{name} is needed, and not installed") from None
        extras = package.extras or {""}
        waiting += [
            each for each in needed
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras)
        ]  # fmt: skip
    return found


def test_the_lock_says_what_comes_along_and_the_readme_how_many():
    head, _, rest = LOCK.partition("# What notebooks")
    assert {name_of(pin) for pin in pins(head)} == come_along(CORE)
    readme = (ROOT / "README.md").read_text()
    assert f"{len(pins(head))} packages come along" in readme
    assert f"{len(pins(LOCK))} packages in all" in readme
    assert rest


def test_lock_environment_and_project_agree():
    lock = {name_of(pin) for pin in pins(LOCK)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {name_of(each) for each in project["dependencies"]} == CORE
    zoo = extras.pop("zoo")  # for one benchmark alone; it stays out of every environment
    assert {name_of(each) for each in zoo} == {"timm", "torchvision"}
    assert {name_of(each) for extra in extras.values() for each in extra} <= lock
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(line for line in conda if str(line).startswith("python="))
    assert f">={python.removeprefix('python=')}" == project["requires-python"]
    assert conda[-1]["pip"][-1] == f"-e .[{','.join(sorted(extras))}]"


def test_pip_takes_the_environments_section_as_conda_hands_it_over(checkout):
    section = yaml.safe_load((checkout / "environment.yml").read_text())["dependencies"][-1]["pip"]
    file = checkout / "condaenv.requirements.txt"
    file.write_text("\n".join(section))
    # conda: pip install -U -r FILE --exists-action=b. Every pin is installed here, so no index is
    # asked, and a version or a dependency that requirements.lock does not have is an error.
    said = pip(
        "install", "--dry-run", "--no-index", "--no-build-isolation", "-U", "-r", file,
        "--exists-action=b", cwd=checkout,
    )  # fmt: skip
    assert re.findall(r"Would install (.*)", said) in ([f"nvlib-{nvlib.__version__}"], [])


# run_all.sh

TOOLS = ("bash", "cat", "cksum", "cp", "cut", "dirname",
         "env", "mkdir", "mv", "readlink", "rm", "sed")  # fmt: skip


def fake(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path):
    """A copy of what run_all.sh needs, and a PATH with only basic tools."""
    folder, tools = tmp_path / "clone", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    for name in ("run_all.sh", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for tool in TOOLS:
        os.symlink(shutil.which(tool), tools / tool)
    return folder, tools, {"PATH": str(tools), "HOME": str(tmp_path)}


def test_no_python_or_too_old_a_python_is_one_clear_line(clone):
    folder, tools, environment = clone
    done = run("bash", folder / "run_all.sh", env=environment)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("found none; install Python 3.11 and start again")
    fake(tools, "python3", 'case "$1" in --version) echo Python 3.9.1;; *) exit 1;; esac')
    done = run("bash", folder / "run_all.sh", env=environment)
    assert done.returncode == 1
    assert "found Python 3.9.1; install Python 3.11" in done.stderr


def test_no_network_is_one_clear_line_and_the_next_start_recovers(clone):
    folder, tools, environment = clone
    fake(tools, "python3.11", (
        'case "$*" in "-m venv .venv") mkdir -p .venv/bin;'
        ' cp "$FAKE" .venv/bin/python;; esac'))  # fmt: skip
    no = 'echo "No matching distribution" >&2; exit 1'
    broken = fake(tools, "pip-fails", f'case "$*" in *torch*|*requirements.lock*) {no};; esac')
    environment["FAKE"] = str(broken)
    done = run("bash", folder / "run_all.sh", env=environment)
    assert done.returncode == 1
    assert "could not install requirements.lock; check the network" in done.stderr
    assert not list((folder / ".venv").glob("ready-*"))
    works = fake(tools, "pip-works", 'case "$*" in *artifact.reproduce*) echo ran "$@";; esac')
    environment["FAKE"] = str(works)
    done = run("bash", folder / "run_all.sh", "--list", env=environment)
    assert done.returncode == 0, done.stderr
    assert "ran -u -m artifact.reproduce --list" in done.stdout
    # From elsewhere, through a link, and with no more to install.
    link = folder.parent / "link"
    link.symlink_to(folder / "run_all.sh")
    done = run(link, "--list", env=environment, cwd="/")
    assert done.stdout.strip() == "ran -u -m artifact.reproduce --list"


# run_all.sh and the builds of torch: pip takes tiny wheels from an index on loopback

CUDA, CPU = "torch-2.13.0", "torch-2.13.0+cpu"


def write_wheel(folder, name, needs=()):
    project, version = name.split("-")
    info = f"{project}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {each}\n" for each in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in (*files, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path.replace("%2B", "+").rsplit("/", 1)[-1])


@pytest.fixture
def index(tmp_path):
    """Folders of wheels, served: `plain` and `cpu` as on the internet, `both` in one."""
    folder = tmp_path / "index"
    for name, builds in {"plain": [CUDA], "cpu": [CPU], "both": [CUDA, CPU]}.items():
        for build in builds:
            write_wheel(folder / name / "torch", build, ["nvidia-runtime"] if build == CUDA else [])
        write_wheel(folder / name / "nvidia-runtime", "nvidia_runtime-1.0")
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []
        server.folder = folder
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A new environment, made once and copied."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    done = run(sys.executable, "-m", "venv", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def start(clone, index, fresh):
    """Starts run_all.sh where only torch is pinned; returns what happened and torch's build."""
    folder, tools, environment = clone
    (folder / "requirements.lock").write_text("torch==2.13.0\n")
    # `-m venv` copies the environment; its python leaves out the last step, installing nvlib.
    fake(tools, "of-venv", 'case "$*" in *" -e .") ;; *) exec "${0%python}real" "$@";; esac')
    make = f'cp -a "{fresh}" .venv; cd .venv/bin; mv python real; cp "{tools}/of-venv" python'
    fake(tools, "python3.11", f'case "$*" in "-m venv .venv") {make};; esac')

    def go(pip_index="plain", torch_index="cpu", gpu=False, **more):
        with contextlib.suppress(FileNotFoundError):
            (tools / "nvidia-smi").unlink()
        if gpu is not None:
            fake(tools, "nvidia-smi", f"exit {0 if gpu else 9}")
        index.asked.clear()
        variables = {
            "NVLIB_SETUP_ONLY": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
            "PIP_INDEX_URL": f"{index.address}/{pip_index}",
            "NVLIB_TORCH_INDEX": f"{index.address}/{torch_index}",
        }  # fmt: skip
        done = run("bash", folder / "run_all.sh", env={**environment, **variables, **more})
        taken = [path.name.removesuffix(".dist-info") for path in
                 folder.glob(".venv/lib/*/site-packages/torch-*.dist-info")]  # fmt: skip
        return done, *taken

    return go


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one build of torch")


@linux
@pytest.mark.parametrize(
    ("pip_index", "gpu"), [("plain", None), ("both", False)],
    ids=["no nvidia-smi", "it finds none, one index has both builds"],
)  # fmt: skip
def test_without_a_gpu_the_small_build_is_taken(start, index, pip_index, gpu):
    done, taken = start(pip_index, gpu=gpu, NVLIB_TORCH="")
    assert (done.returncode, taken) == (0, CPU), done.stderr
    assert "Found no" not in done.stdout
    assert f"{CUDA}-py3-none-any.whl" not in index.asked
    assert "nvidia_runtime-1.0-py3-none-any.whl" not in index.asked


@linux
def test_with_a_gpu_the_cuda_build_is_taken_with_what_it_needs(start, index):
    done, taken = start("both", gpu=True)
    assert (done.returncode, taken) == (0, CUDA), done.stderr
    assert "nvidia_runtime-1.0-py3-none-any.whl" in index.asked
    done, taken = start("both", gpu=True, NVLIB_TORCH="cpu")  # another build: made anew
    assert (done.returncode, taken) == (0, CPU), done.stderr
    assert "Making .venv" in done.stdout
    done, taken = start("both", gpu=True)  # nothing asked for: what is there stays
    assert (done.stdout, taken) == ("", CPU)


def test_the_switch_decides_against_what_is_found(start):
    assert start("both", NVLIB_TORCH="cuda")[1] == CUDA
    assert start("plain", NVLIB_TORCH="default")[1] == CUDA
    assert start("plain", gpu=True, NVLIB_TORCH="cpu")[1] == CPU


def test_an_unknown_build_is_refused_at_once(clone):
    folder, _, environment = clone
    done = run("bash", folder / "run_all.sh", env={**environment, "NVLIB_TORCH": "rocm"})
    assert done.returncode == 1
    assert "NVLIB_TORCH: expected cpu, cuda or default, received rocm; unset it" in done.stderr


@linux
def test_where_no_small_build_is_to_be_had_it_says_so_and_goes_on(start, clone):
    closed = {"NVLIB_TORCH_INDEX": "http://127.0.0.1:9"}  # nothing listens there
    done, taken = start("plain", **closed)
    assert (done.returncode, taken) == (0, CUDA), done.stderr
    assert "Found no cpu build of torch 2.13.0: taking the one that pip finds" in done.stdout
    shutil.rmtree(clone[0] / ".venv")
    done, taken = start("cpu", gpu=True)
    assert (done.returncode, taken) == (0, CPU), done.stderr
    assert "Found no cuda build of torch 2.13.0" in done.stdout
    # Who asks for it by name is told instead.
    (done,) = start("plain", NVLIB_TORCH="cpu", **closed)
    assert done.returncode == 1
    assert "could not install torch==2.13.0+cpu" in done.stderr
    assert "NVLIB_TORCH=default" in done.stderr


@linux
def test_a_broken_download_does_not_become_a_large_one(start, index):
    (index.folder / "cpu" / "torch" / f"{CPU}-py3-none-any.whl").write_bytes(b"half of it")
    (done,) = start("plain")
    assert done.returncode == 1
    assert "could not install torch==2.13.0+cpu; check the network" in done.stderr
    assert f"{CUDA}-py3-none-any.whl" not in index.asked
