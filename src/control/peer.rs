//! Who is at the other end of the control socket, and what they may do.
//!
//! The user is the kernel's word (`SO_PEERCRED`), taken when the connection was made; the groups are those that the system's accounts give that
//! user now. Nothing that a client says about itself counts, but for one thing: root may say whom it acts for, as sudo does.

use crate::error::escape;

/// The group whose members may change things.
pub const GROUP: &str = "retentiond";
/// The group whose members may ask.
pub const READERS: &str = "retentiond-read";

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing.
    None,
    /// Ask.
    Read,
    /// Change things.
    Change,
}

/// The rights of a user with these groups, when the service runs as `service`.
pub fn rights(uid: u32, groups: &[String], service: u32) -> Rights {
    let member = |name: &str| groups.iter().any(|group| group == name);
    if uid == 0 || uid == service || member(GROUP) {
        Rights::Change
    } else if member(READERS) {
        Rights::Read
    } else {
        Rights::None
    }
}

/// The names of a user's groups, by the system's accounts; `gid` is the group that the process itself runs with. May wait for a directory server.
pub fn groups(uid: u32, gid: u32) -> Vec<String> {
    let name = |group: &uzers::Group| group.name().to_string_lossy().into_owned();
    let own = uzers::get_group_by_gid(gid).iter().map(name).collect::<Vec<_>>();
    let all = uzers::get_user_by_uid(uid).and_then(|user| user.groups()).unwrap_or_default();
    own.into_iter().chain(all.iter().map(name)).collect()
}

/// Who gave a command, for the log: the account, and for root the one behind sudo.
pub fn person(uid: u32, on_behalf_of: Option<&str>) -> String {
    let behind = on_behalf_of.filter(|name| uid == 0 && !name.is_empty()).map(|name| escape(name.as_bytes()));
    let name = behind.or_else(|| Some(escape(uzers::get_user_by_uid(uid)?.name().as_encoded_bytes())));
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// Whom this process acts for, as sudo says.
pub fn behind_sudo() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty())
}

/// Who runs this process.
pub fn myself() -> String {
    person(rustix::process::getuid().as_raw(), behind_sudo().as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_the_service_and_two_groups_have_rights() {
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(rights(0, &[], 990), Rights::Change);
        assert_eq!(rights(990, &[], 990), Rights::Change);
        assert_eq!(rights(1000, &groups(&["users", "retentiond"]), 990), Rights::Change);
        assert_eq!(rights(1000, &groups(&["retentiond-read"]), 990), Rights::Read);
        assert_eq!(rights(1000, &groups(&["retentiond-read", "retentiond"]), 990), Rights::Change);
        assert_eq!(rights(1000, &groups(&["users", "wheel", "retentiond-readers"]), 990), Rights::None);
        assert_eq!(rights(65534, &[], 990), Rights::None);
    }

    #[test]
    fn nobody_but_root_acts_for_somebody_else() {
        assert_eq!(person(0, Some("alice")), "alice (uid 0)");
        assert_eq!(person(4_000_000_001, Some("alice")), "uid 4000000001");
        assert_eq!(person(0, Some("a\nb")), "a\\nb (uid 0)");
    }
}
