//! The level `baseline`: no known way out of the pod.

use super::{Allows, Control, Judged, Of};
use crate::confine::places::{APPARMOR, PROBES, REQUESTS, each_in_containers};
use crate::paths;
use crate::verdict::Verdict;

/// Capabilities that runtimes give by default. `NET_RAW` is not among them.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Profiles of seccomp and `AppArmor` that are one.
const PROFILES: &[&str] = &["RuntimeDefault", "Localhost"];
/// Types of `SELinux` that containers run as.
const SELINUX_TYPES: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// Kernel parameters that are the pod's own.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// What only an empty string is allowed for.
const EMPTY: Allows = Allows::OneOf(&[""]);
/// The usual masks of `/proc`.
pub(super) const PROC_MOUNT: Control =
    Control { of: Of::Containers, path: "/securityContext/procMount", allows: Allows::OneOf(&["Default"]) };

const CONTROLS: &[Control] = &[
    control(Of::PodAndContainers, "/securityContext/windowsOptions/hostProcess", Allows::False),
    control(Of::Pod, "/hostNetwork", Allows::False),
    control(Of::Pod, "/hostPID", Allows::False),
    control(Of::Pod, "/hostIPC", Allows::False),
    control(Of::Containers, "/securityContext/privileged", Allows::False),
    control(Of::Containers, "/securityContext/capabilities/add/*", Allows::OneOf(CAPABILITIES)),
    control(Of::Pod, "/volumes/*/hostPath", Allows::Nothing),
    control(Of::Containers, "/ports/*/hostPort", Allows::Zero),
    control(Of::PodAndContainers, "/securityContext/appArmorProfile/type", Allows::OneOf(PROFILES)),
    control(Of::PodAndContainers, "/securityContext/seLinuxOptions/type", Allows::OneOf(SELINUX_TYPES)),
    control(Of::PodAndContainers, "/securityContext/seLinuxOptions/user", EMPTY),
    control(Of::PodAndContainers, "/securityContext/seLinuxOptions/role", EMPTY),
    control(Of::PodAndContainers, "/securityContext/seccompProfile/type", Allows::OneOf(PROFILES)),
    control(Of::Pod, "/securityContext/sysctls/*/name", Allows::OneOf(SYSCTLS)),
];

const fn control(of: Of, path: &'static str, allows: Allows) -> Control {
    Control { of, path, allows }
}

pub(super) fn judge(judged: &Judged<'_>) -> Verdict<()> {
    CONTROLS.iter().try_for_each(|control| judged.keeps_to(control))?;
    if !judged.has_user_namespace {
        judged.keeps_to(&PROC_MOUNT)?;
    }
    probes_stay_in_the_pod(judged)?;
    apparmor_annotations(judged)
}

/// With a host, the kubelet would send requests from the node to whatever it can reach.
fn probes_stay_in_the_pod(judged: &Judged<'_>) -> Verdict<()> {
    let mut requests =
        PROBES.iter().flat_map(|probe| REQUESTS.iter().map(move |request| format!("{probe}/{request}/host")));
    requests.try_for_each(|path| {
        each_in_containers(judged.pod, &path, &mut |at, host| match host {
            Some(host) if host != "" => Err(judged.refusal(at, "must not be set")),
            _ => Ok(()),
        })
    })
}

/// The annotations that chose profiles before 1.30; API servers fill the fields from them.
fn apparmor_annotations(judged: &Judged<'_>) -> Verdict<()> {
    let of_apparmor = judged.pod.annotations().into_iter().flatten();
    for (key, profile) in of_apparmor.filter(|(key, _)| key.starts_with(APPARMOR)) {
        let is_one = |profile: &str| {
            profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")
        };
        if !profile.as_str().is_some_and(is_one) {
            let at = format!("/metadata/annotations/{}", paths::escape(key));
            return Err(judged.refusal(&at, "must be runtime/default or a profile of localhost/"));
        }
    }
    Ok(())
}
