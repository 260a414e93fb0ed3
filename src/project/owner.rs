//! The user who became root to run kvmc, and who gets the files.

use nix::unistd::{Uid, User, geteuid};

/// User and group ids of the user who called sudo(8), doas(1), pkexec(1) or run0(1), which sets sudo's variables. What is
/// in the variables is ignored unless it names a user whom this host knows.
pub(crate) fn behind_root() -> Option<(u32, u32)> {
    // A shell of `sudo -u` has the variables, too.
    if !geteuid().is_root() {
        return None;
    }
    owner(|name| std::env::var(name).ok())
}

fn owner(read: impl Fn(&str) -> Option<String>) -> Option<(u32, u32)> {
    let number = |name| read(name)?.parse::<u32>().ok();
    let by_number = |name| User::from_uid(Uid::from_raw(number(name)?)).ok()?;
    let by_name = |name| User::from_name(&read(name)?).ok()?;
    let (user, group) = if let Some(user) = by_number("SUDO_UID") {
        (user, number("SUDO_GID"))
    } else if let Some(user) = by_name("DOAS_USER") {
        (user, None)
    } else {
        (by_number("PKEXEC_UID")?, None)
    };
    // chown(2) takes the highest number for no change.
    let group = group.filter(|gid| *gid != u32::MAX);
    Some((user.uid.as_raw(), group.unwrap_or(user.gid.as_raw())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<(u32, u32)> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name);
        owner(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_user_behind_each_of_the_programs_is_found() {
        // Users that every Debian has, with the same numbers.
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        let number = uid.to_string();
        assert_eq!(of(&[("DOAS_USER", "nobody")]), Some((uid, gid)));
        assert_eq!(of(&[("PKEXEC_UID", &number)]), Some((uid, gid)));
        assert_eq!(of(&[("SUDO_UID", &number)]), Some((uid, gid)));
        let sudo = [
            ("SUDO_UID", &*number),
            ("SUDO_GID", "5"),
            ("DOAS_USER", "root"),
        ];
        assert_eq!(of(&sudo), Some((uid, 5)));
        assert_eq!(
            of(&[("SUDO_UID", "x"), ("PKEXEC_UID", &number)]),
            Some((uid, gid))
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn nonsense_is_nobody() {
        for name in ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"] {
            for value in [
                "",
                " ",
                "-1",
                "4294967295",
                "4294967296",
                "3999999999",
                "no such user",
                "../x",
                "a:b",
                "\n",
            ] {
                assert_eq!(of(&[(name, value)]), None, "{name}={value}");
            }
        }
        let (uid, gid) = (0, 0);
        for group in ["", "x", "-1", "4294967295"] {
            assert_eq!(
                of(&[("SUDO_UID", "0"), ("SUDO_GID", group)]),
                Some((uid, gid))
            );
        }
    }
}
