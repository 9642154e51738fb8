# To work in a bash shell as make and mtopt do, after `make setup`: `source environment.sh`
mtopt_root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$mtopt_root/.venv/bin/activate"
# With ROS from wheels the virtual environment is the ROS installation; a sourced one names itself in install/.
if [ -d "$VIRTUAL_ENV/share/ament_index" ]; then
  export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
fi
source "$mtopt_root/install/setup.bash"
# -S: these few lines need none of the installed packages.
eval "$(python -S -m mtopt_core.environment)"
unset mtopt_root
