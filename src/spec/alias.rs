//! Shorter names for settings of the default roles. A new alias is one more row.

use super::table::{Flag, flag};

/// A shorter name for a setting of a default role: that of the original scripts or of an earlier version.
#[derive(Debug)]
pub(crate) struct Alias {
    /// The key in `kvmc.toml`.
    pub(crate) key: &'static str,
    pub(crate) role: &'static str,
    /// The role's key that it stands for.
    pub(crate) field: &'static str,
    pub(crate) flag: Flag,
    pub(crate) variable: &'static str,
    /// The default, if it differs from that of other roles; else empty.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

/// The shorter names: those of the original scripts, and others formed like them.
pub(crate) static ALIASES: &[Alias] = &[
    Alias {
        key: "masters",
        role: "masters",
        field: "count",
        flag: flag("--masters", "N"),
        variable: "KVMC_MASTERS",
        default: "3",
        help: "Number of masters",
    },
    Alias {
        key: "workers",
        role: "workers",
        field: "count",
        flag: flag("--workers", "N"),
        variable: "KVMC_WORKERS",
        default: "3",
        help: "Number of workers",
    },
    Alias {
        key: "load_balancers",
        role: "load_balancers",
        field: "count",
        flag: flag("--load-balancers", "N"),
        variable: "KVMC_LOAD_BALANCERS",
        default: "1",
        help: "Number of load balancers",
    },
    Alias {
        key: "master_ram",
        role: "masters",
        field: "ram",
        flag: flag("--master-ram", "SIZE"),
        variable: "MASTER_RAM",
        default: "",
        help: "RAM of a master [default: 2G]",
    },
    Alias {
        key: "worker_ram",
        role: "workers",
        field: "ram",
        flag: flag("--worker-ram", "SIZE"),
        variable: "WORKER_RAM",
        default: "4G",
        help: "RAM of a worker",
    },
    Alias {
        key: "lbl_ram",
        role: "load_balancers",
        field: "ram",
        flag: Flag {
            also: Some("load-balancer-ram"),
            ..flag("--lbl-ram", "SIZE")
        },
        variable: "LBL_RAM",
        default: "",
        help: "RAM of a load balancer [default: 2G]",
    },
    Alias {
        key: "master_restart",
        role: "masters",
        field: "restart",
        flag: flag("--master-restart", "WHEN"),
        variable: "MASTER_RESTART",
        default: "",
        help: "When to restart a master that ended by itself: never, on-failure or always [default: never]",
    },
    Alias {
        key: "worker_restart",
        role: "workers",
        field: "restart",
        flag: flag("--worker-restart", "WHEN"),
        variable: "WORKER_RESTART",
        default: "",
        help: "When to restart a worker that ended by itself [default: never]",
    },
    Alias {
        key: "lbl_restart",
        role: "load_balancers",
        field: "restart",
        flag: Flag {
            also: Some("load-balancer-restart"),
            ..flag("--lbl-restart", "WHEN")
        },
        variable: "LBL_RESTART",
        default: "",
        help: "When to restart a load balancer that ended by itself [default: never]",
    },
    Alias {
        key: "master_image",
        role: "masters",
        field: "image",
        flag: flag("--master-image", "NAME|PATH|URL"),
        variable: "KVMC_MASTER_IMAGE",
        default: "",
        help: "Image of the masters, if it differs",
    },
    Alias {
        key: "worker_image",
        role: "workers",
        field: "image",
        flag: flag("--worker-image", "NAME|PATH|URL"),
        variable: "KVMC_WORKER_IMAGE",
        default: "",
        help: "Image of the workers, if it differs",
    },
    Alias {
        key: "lbl_image",
        role: "load_balancers",
        field: "image",
        flag: Flag {
            also: Some("load-balancer-image"),
            ..flag("--lbl-image", "NAME|PATH|URL")
        },
        variable: "KVMC_LBL_IMAGE",
        default: "",
        help: "Image of the load balancers, if it differs",
    },
];

/// The alias of a default role's setting, if it has one.
pub(crate) fn alias_of(role: &str, field: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|a| a.role == role && a.field == field)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::table::{SETTINGS, role_setting};
    use super::*;

    #[test]
    fn no_two_settings_share_a_key_a_flag_or_a_variable() {
        let mut seen = HashSet::new();
        for row in SETTINGS {
            assert!(row.key.is_empty() || seen.insert(row.key), "{}", row.key);
            let flags = row.flag.iter().flat_map(|f| [Some(f.name), f.also]);
            for name in flags.flatten().chain(row.variable) {
                assert!(seen.insert(name), "{name} twice");
            }
            assert!(!row.help.is_empty(), "{} has no help", row.key);
        }
        for alias in ALIASES {
            let names = [Some(alias.key), Some(alias.flag.name), alias.flag.also];
            for name in names.into_iter().flatten().chain([alias.variable]) {
                assert!(seen.insert(name), "{name} twice");
            }
            assert!(role_setting(alias.field).is_some(), "{}", alias.key);
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for row in SETTINGS.iter().filter(|s| !s.default.is_empty()) {
            row.kind.parse(row.default).unwrap();
        }
        for alias in ALIASES.iter().filter(|a| !a.default.is_empty()) {
            let kind = role_setting(alias.field).unwrap().kind;
            kind.parse(alias.default).unwrap();
        }
    }
}
