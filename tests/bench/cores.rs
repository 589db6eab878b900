//! Which processor does what: servers have one for themselves, and the load comes from the other.

use std::process::{Command, Stdio};

pub(crate) const SERVERS: &str = "1";
pub(crate) const LOAD: &str = "0";

/// Keeps all threads of a process, and those it begins later, on a processor. Where there is only one, nothing
/// changes.
pub(crate) fn pin(pid: u32, core: &str) {
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", core, &pid.to_string()]);
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// This process makes the load, until it is dropped.
pub(crate) struct Load;

impl Load {
    pub(crate) fn begin() -> Load {
        pin(std::process::id(), LOAD);
        Load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        pin(std::process::id(), &format!("{LOAD},{SERVERS}"));
    }
}
