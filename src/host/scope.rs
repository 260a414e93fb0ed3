//! Puts this process into a scope of systemd's (systemd.scope(5)), so that the end of a login session or of a service
//! does not end the keeper and the nodes that it starts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, connection};

use super::unit::{UNIT as SERVICE, is_running};

/// The manager's name on the bus, its object, and the interfaces, org.freedesktop.systemd1(5).
const NAME: &str = "org.freedesktop.systemd1";
pub(super) const OBJECT: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const JOB: &str = "org.freedesktop.systemd1.Job";
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Longest wait for a connection, an answer, and the move. A job of systemd's waits for others, and must not hold `up`.
const PATIENCE: Duration = Duration::from_secs(2);
/// Interval between looks at this process's cgroup. systemd takes some 2 ms.
const LOOK: Duration = Duration::from_millis(1);
/// This process, by its credentials. systemd may number processes in another pid namespace.
const SENDER: u32 = 0;

/// Where `unit` will be, for the limits there. It does not exist before somebody enters it.
const SLICE: &str = "/system.slice";

/// Whether systemd runs here, and this process would end with a session or a service.
pub(crate) fn needs_scope(unit: &str) -> bool {
    is_running() && !stays(&own_groups(), unit)
}

/// The cgroups that count for nodes that this process starts, in the form of `/proc/PID/cgroup`.
pub(super) fn groups_of_nodes() -> String {
    let groups = own_groups();
    match is_running() && !stays(&groups, "") {
        true => in_slice(&groups),
        false => groups,
    }
}

fn own_groups() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

fn in_slice(groups: &str) -> String {
    let moved = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers) = (fields.next()?, fields.next()?);
        Some(format!("{number}:{controllers}:{SLICE}\n"))
    });
    moved.collect()
}

/// The paths in the hierarchies by which systemd knows processes, in all its modes.
fn paths(groups: &str) -> impl Iterator<Item = &str> {
    groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        matches!(controllers, "" | "name=systemd").then_some(path)
    })
}

/// The system manager's unit in a cgroup's path, which is the first one.
fn unit_of(path: &str) -> Option<&str> {
    let is_unit = |part: &&str| part.ends_with(".scope") || part.ends_with(".service");
    path.split('/').find(is_unit)
}

/// Whether a process in these cgroups is in `unit`, or in another scope that somebody made for it. A session's scope
/// and the scopes below a user's manager end with the session, and `init.scope` is systemd's own.
fn stays(groups: &str, unit: &str) -> bool {
    paths(groups).any(|path| {
        unit_of(path).is_some_and(|found| {
            let is_made = found.ends_with(".scope")
                && found != "init.scope"
                && !found.starts_with("kvmc-")
                && !path.starts_with("/user.slice/");
            found == unit || is_made
        })
    })
}

/// Whether processes in these cgroups are in `unit`.
pub(super) fn is_in(groups: &str, unit: &str) -> bool {
    paths(groups).any(|path| unit_of(path) == Some(unit))
}

/// The units that systemd stops before the scope when the host shuts down: kvmc's own, and the service that this
/// process was started by, which may stop the cluster.
fn stopped_before(groups: &str) -> Vec<&str> {
    let own = paths(groups).filter_map(unit_of);
    let own = own.filter(|u| u.ends_with(".service") && !u.starts_with("user@") && *u != SERVICE);
    let mut all: Vec<_> = [SERVICE].into_iter().chain(own).collect();
    all.dedup();
    all
}

/// Moves this process into `unit`, which is made if it is not there. It ends with its last process.
///
/// # Errors
/// Fails with systemd's words, or if systemd does not do it in time.
pub(crate) async fn enter_scope(unit: &str, about: &str) -> Result<()> {
    let bus = timed(connection::Builder::system()?.build()).await;
    // The words of its own causes are in the error's already.
    let bus = bus.map_err(|e| anyhow!("the system bus cannot be reached: {e}"))?;
    let job = ask(&bus, unit, about).await?;
    let until = Instant::now() + PATIENCE;
    while !paths(&own_groups()).any(|path| unit_of(path) == Some(unit)) {
        if Instant::now() > until {
            if let Some(job) = job {
                // Otherwise it could move this process at any later time.
                let _done_by_now = call(&bus, job.as_str(), JOB, "Cancel", &()).await;
            }
            bail!("systemd did not do it within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

pub(super) async fn call<B>(
    bus: &Connection,
    object: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> Result<zbus::Message>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    timed(bus.call_method(Some(NAME), object, Some(interface), method, body)).await
}

/// Asks systemd to move this process. Returns the job that does it, if it is a job.
async fn ask(bus: &Connection, unit: &str, about: &str) -> Result<Option<OwnedObjectPath>> {
    let groups = own_groups();
    let properties = [
        ("Description", Value::from(about)),
        ("PIDs", Value::from(vec![SENDER])),
        ("Before", Value::from(stopped_before(&groups))),
        // Nobody else changes the cgroups below it. systemd then also leaves the other nodes alone when the kernel kills
        // one because memory ran out (OOMPolicy= in systemd.service(5)).
        ("Delegate", Value::from(true)),
        // A failed scope would stay, and keep its name from the next.
        ("CollectMode", Value::from("inactive-or-failed")),
        ("TasksMax", Value::from(u64::MAX)),
    ];
    let others: [(&str, Vec<(&str, Value<'_>)>); 0] = [];
    let body = (unit, "fail", properties.to_vec(), others.to_vec());
    start_or_join(bus, unit, SENDER, &body).await
}

/// Starts a scope with a process, or puts the process into it if it is there. `body` is that of StartTransientUnit. Returns
/// the job of a start.
pub(super) async fn start_or_join<B>(
    bus: &Connection,
    unit: &str,
    pid: u32,
    body: &B,
) -> Result<Option<OwnedObjectPath>>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    let join = (unit, "", vec![pid]);
    let until = Instant::now() + PATIENCE;
    loop {
        match call(bus, OBJECT, MANAGER, "StartTransientUnit", body).await {
            Ok(job) => return Ok(Some(job.body().deserialize()?)),
            Err(error) if is_called(&error, EXISTS) => {}
            Err(error) => return Err(error),
        }
        match call(bus, OBJECT, MANAGER, "AttachProcessesToUnit", &join).await {
            Ok(_) => return Ok(None),
            // A scope whose last process has just ended cannot be joined, and keeps its name for a moment.
            Err(_) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether systemd answered with the error of that name.
fn is_called(error: &anyhow::Error, name: &str) -> bool {
    let found = error.downcast_ref::<zbus::Error>();
    matches!(found, Some(zbus::Error::MethodError(found, _, _)) if found.as_str() == name)
}

pub(super) async fn timed<T>(work: impl Future<Output = zbus::Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "kvmc-k80-01234567.scope";

    #[test]
    fn a_process_leaves_sessions_and_services_and_stays_in_a_scope_that_was_made_for_it() {
        let leaves = [
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term-7.scope\n",
            "0::/system.slice/ci.service\n",
            "0::/system.slice/docker.service/x.scope\n",
            "0::/system.slice/kvmc-other-01234567.scope\n",
            "0::/init.scope\n",
            "0::/\n",
            "",
            "junk\n4:memory:/system.slice/run-1.scope\n1:name=systemd:/system.slice/ci.service\n0::/\n",
        ];
        for groups in leaves {
            assert!(!stays(groups, UNIT), "{groups}");
        }
        let stay = [
            "0::/system.slice/kvmc-k80-01234567.scope\n",
            "0::/system.slice/kvmc-k80-01234567.scope/node\n",
            "0::/system.slice/run-r1.scope\n",
            "1:name=systemd:/lab.slice/lab.scope\n0::/\n",
        ];
        for groups in stay {
            assert!(stays(groups, UNIT), "{groups}");
        }
    }

    #[test]
    fn the_service_that_started_it_is_stopped_first() {
        let before = stopped_before;
        assert_eq!(before("0::/system.slice/kvmc.service\n"), ["kvmc.service"]);
        assert_eq!(
            before("1:name=systemd:/system.slice/ci.service\n0::/system.slice/ci.service\n"),
            ["kvmc.service", "ci.service"]
        );
        for session in [
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
        ] {
            assert_eq!(before(session), ["kvmc.service"]);
        }
    }

    #[test]
    fn the_limits_of_the_slice_count_and_not_those_that_are_left() {
        let groups = "4:cpu,memory:/user.slice/a:b\n0::/user.slice\n";
        assert_eq!(
            in_slice(groups),
            "4:cpu,memory:/system.slice\n0::/system.slice\n"
        );
    }
}
