//! What `resourceVersion` and its kin mean for a list and for a watch, as one table.
//!
//! | request | unset | `0` | X |
//! |---|---|---|---|
//! | get | newest | newest | newest; 410 if X is not reached yet |
//! | list | newest | newest | newest; 410 if X is not reached yet |
//! | list, `Exact` | 422 | 422 | the snapshot at X, else 410 |
//! | list with `limit`, no match | newest | newest | the snapshot at X, else 410 |
//! | watch | all, then changes | the same | changes after X, else 410 in the stream |
//! | watch, `sendInitialEvents` | all, bookmark, changes | the same | the same, or 410 there |
//!
//! A version that is not reached yet is one of another process: it never will be.

use super::failure::Failure;
use super::options::{Options, VersionMatch};
use super::page::PageToken;

/// Which state of the store a list is taken from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ListAt {
    /// The newest.
    Newest,
    /// The one at this version.
    Exact(u64),
    /// The page after the one that gave this token.
    Page(PageToken),
}

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WatchFrom {
    /// With all objects, marked by a bookmark if the client asked for one.
    Everything {
        /// Whether the client sent `sendInitialEvents=true`.
        marked: bool,
    },
    /// With the first change after this version.
    After(u64),
}

/// Where to read a list, when the newest version is `newest`.
///
/// # Errors
/// 422 for combinations that mean nothing, 400 for a bad token, 410 for a version not reached.
pub(crate) fn list_at(options: &Options, newest: u64) -> Result<ListAt, Failure> {
    if options.initial_events.is_some() {
        let message = "sendInitialEvents is forbidden for list";
        return Err(Failure::invalid_option("sendInitialEvents", message));
    }
    if let Some(token) = &options.continue_at {
        return page(options, token);
    }
    match (options.version_match, options.version) {
        (Some(_), None) => {
            let message = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            Err(Failure::invalid_option("resourceVersionMatch", message))
        }
        (Some(VersionMatch::Exact), Some(0)) => {
            let message = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            Err(Failure::invalid_option("resourceVersionMatch", message))
        }
        (_, None | Some(0)) => Ok(ListAt::Newest),
        (_, Some(version)) if version > newest => Err(not_reached(version, newest)),
        (Some(VersionMatch::Exact), Some(version)) => Ok(ListAt::Exact(version)),
        (None, Some(version)) if options.limit.is_some() => Ok(ListAt::Exact(version)),
        (_, Some(_)) => Ok(ListAt::Newest),
    }
}

fn page(options: &Options, token: &str) -> Result<ListAt, Failure> {
    if options.version_match.is_some() {
        let message = "resourceVersionMatch is forbidden when continue is provided";
        return Err(Failure::invalid_option("resourceVersionMatch", message));
    }
    if options.version.is_some_and(|version| version != 0) {
        let message = "specifying resource version is not allowed when using continue";
        return Err(Failure::bad_request(message));
    }
    PageToken::parse(token).map(ListAt::Page)
}

/// Where a watch begins, when the newest version is `newest`.
///
/// # Errors
/// 422 for combinations that mean nothing. A version that is not reached is no error here: that
/// is told inside the stream.
pub(crate) fn watch_from(options: &Options) -> Result<WatchFrom, Failure> {
    match (options.initial_events, options.version_match) {
        (None, Some(_)) => {
            let message = "resourceVersionMatch is forbidden for watch unless sendInitialEvents \
                           is provided";
            return Err(Failure::invalid_option("resourceVersionMatch", message));
        }
        (Some(_), None | Some(VersionMatch::Exact)) => {
            let message = "sendInitialEvents requires setting resourceVersionMatch to \
                           NotOlderThan";
            return Err(Failure::invalid_option("resourceVersionMatch", message));
        }
        _ => {}
    }
    if options.continue_at.is_some() {
        return Err(Failure::invalid_option("continue", "continue is forbidden for watch"));
    }
    Ok(match (options.initial_events, options.version) {
        (Some(true), _) => WatchFrom::Everything { marked: true },
        (Some(false), None | Some(0)) => WatchFrom::After(0),
        (None, None | Some(0)) => WatchFrom::Everything { marked: false },
        (_, Some(version)) => WatchFrom::After(version),
    })
}

/// The version was never given out by this process.
pub(crate) fn not_reached(version: u64, newest: u64) -> Failure {
    Failure::expired(format!(
        "too large resource version: {version}, current: {newest}; it is not of this process"
    ))
}

/// The version is older than what is remembered.
pub(crate) fn too_old(version: u64) -> Failure {
    Failure::expired(format!("too old resource version: {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: u64 = 100;

    fn options(query: &str) -> Options {
        Options::of(&format!("/vms?{query}").parse().unwrap()).unwrap()
    }

    #[track_caller]
    fn check_list(query: &str, want: Result<ListAt, u16>) {
        let got = list_at(&options(query), NEWEST).map_err(|error| error.code().as_u16());
        assert_eq!(got, want, "{query}");
    }

    #[track_caller]
    fn check_watch(query: &str, want: Result<WatchFrom, u16>) {
        let got = watch_from(&options(query)).map_err(|error| error.code().as_u16());
        assert_eq!(got, want, "{query}");
    }

    #[test]
    fn lists_follow_the_table() {
        check_list("", Ok(ListAt::Newest));
        check_list("resourceVersion=0", Ok(ListAt::Newest));
        check_list("resourceVersion=0&limit=500", Ok(ListAt::Newest));
        check_list("resourceVersion=99", Ok(ListAt::Newest));
        check_list("resourceVersion=101", Err(410));
        check_list("resourceVersion=99&limit=5", Ok(ListAt::Exact(99)));
        check_list("resourceVersion=99&resourceVersionMatch=Exact", Ok(ListAt::Exact(99)));
        check_list("resourceVersion=101&resourceVersionMatch=Exact", Err(410));
        check_list("resourceVersion=0&resourceVersionMatch=Exact", Err(422));
        check_list("resourceVersion=99&resourceVersionMatch=NotOlderThan", Ok(ListAt::Newest));
        check_list("resourceVersion=0&resourceVersionMatch=NotOlderThan", Ok(ListAt::Newest));
        check_list("resourceVersionMatch=NotOlderThan", Err(422));
        check_list("sendInitialEvents=true", Err(422));
    }

    #[test]
    fn a_page_follows_the_one_before() {
        let token = PageToken { version: 42, after: "vm-7".to_owned(), skipped: 7 };
        let text = token.to_string();
        check_list(&format!("continue={text}"), Ok(ListAt::Page(token.clone())));
        check_list(&format!("continue={text}&resourceVersion=0"), Ok(ListAt::Page(token)));
        check_list(&format!("continue={text}&resourceVersion=42"), Err(400));
        check_list(&format!("continue={text}&resourceVersionMatch=Exact"), Err(422));
        check_list("continue=garbage", Err(400));
    }

    #[test]
    fn watches_follow_the_table() {
        let all = |marked| Ok(WatchFrom::Everything { marked });
        check_watch("", all(false));
        check_watch("resourceVersion=0", all(false));
        check_watch("resourceVersion=99", Ok(WatchFrom::After(99)));
        check_watch("resourceVersion=101", Ok(WatchFrom::After(101)));
        check_watch("resourceVersionMatch=NotOlderThan", Err(422));
        check_watch("sendInitialEvents=true", Err(422));
        check_watch("sendInitialEvents=true&resourceVersionMatch=Exact", Err(422));
        check_watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", all(true));
        check_watch(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=50",
            all(true),
        );
        check_watch("continue=abc", Err(422));
    }
}
