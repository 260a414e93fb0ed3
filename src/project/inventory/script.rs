//! An inventory that Ansible runs.

use std::path::Path;

use super::super::common::HEADER;
use super::super::quote::word;

/// A shell script that answers Ansible's `--list` and `--host`. It finds this kvmc and the cluster's state from any
/// folder. A user who may not read root's state is asked for by sudo, without a password.
pub(crate) fn script(cluster: &str, program: &Path, state: &Path) -> String {
    let program = word(&program.display().to_string());
    let state = word(&state.display().to_string());
    format!(
        "#!/bin/sh
{HEADER} for cluster {cluster}; ansible -i THIS_FILE all -m ping
kvmc={program}
[ -x \"$kvmc\" ] || kvmc=kvmc
KVMC_STATE_DIR={state}
export KVMC_STATE_DIR
set -- \"$kvmc\" --cluster {cluster} inventory \"${{@:---list}}\"
if [ -r \"$KVMC_STATE_DIR\" ] || [ \"$(id -u)\" = 0 ]; then exec \"$@\"; fi
exec sudo -n env KVMC_STATE_DIR=\"$KVMC_STATE_DIR\" \"$@\"
"
    )
}
