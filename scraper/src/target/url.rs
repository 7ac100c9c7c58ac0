//! The URL of a target, with the escapes that Go's `net/url` writes.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::LabelsBuilder;

use super::{ADDRESS, METRICS_PATH, PARAM_PREFIX, SCHEME};

/// `scheme://address/path?query`. Of a parameter with several values, `__param_<name>` replaces
/// the first; parameters are sorted by name.
pub(super) fn of_target(labels: &LabelsBuilder, params: &BTreeMap<String, Vec<String>>) -> String {
    let mut query = params.clone();
    for (name, value) in labels.iter() {
        let Some(key) = name.strip_prefix(PARAM_PREFIX) else { continue };
        let values = query.entry(key.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => *first = value.to_owned(),
            None => values.push(value.to_owned()),
        }
    }
    let mut url = String::new();
    if !labels.get(SCHEME).is_empty() {
        url += labels.get(SCHEME);
        url.push(':');
    }
    url += "//";
    escape(&mut url, labels.get(ADDRESS), b"!$&'()*+,;=:[]<>\"-_.~");
    let path = labels.get(METRICS_PATH);
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    escape(&mut url, path, b"$&+,/:;=@-_.~");
    let mut separator = '?';
    for (name, value) in query.iter().flat_map(|(n, values)| values.iter().map(move |v| (n, v))) {
        url.push(separator);
        escape(&mut url, name, b"-_.~ ");
        url.push('=');
        escape(&mut url, value, b"-_.~ ");
        separator = '&';
    }
    url
}

/// Appends `text` with every byte escaped that is no letter or digit and not in `plain`. A space
/// that is in `plain` becomes `+`.
fn escape(url: &mut String, text: &str, plain: &[u8]) {
    for byte in text.bytes() {
        match byte {
            b' ' if plain.contains(&b' ') => url.push('+'),
            _ if byte.is_ascii_alphanumeric() || plain.contains(&byte) => url.push(byte.into()),
            _ => write!(url, "%{byte:02X}").expect("a String takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[(&str, &str)], params: &[(&str, &[&str])], want: &str) {
        let labels = LabelsBuilder::new(&labels.iter().copied().collect());
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let params = params.iter().map(|(key, values)| ((*key).to_owned(), owned(values)));
        assert_eq!(of_target(&labels, &params.collect()), want);
    }

    const BASE: [(&str, &str); 3] =
        [("__scheme__", "http"), ("__address__", "h:9100"), ("__metrics_path__", "/metrics")];

    #[test]
    fn scheme_address_and_path_make_a_url() {
        check(&BASE, &[], "http://h:9100/metrics");
        let with = |path| [BASE[0], BASE[1], ("__metrics_path__", path)];
        check(&with("probe"), &[], "http://h:9100/probe");
        check(&with("/a b?c#d%/é"), &[], "http://h:9100/a%20b%3Fc%23d%25/%C3%A9");
        check(&[BASE[0], ("__address__", "[::1]:80"), BASE[2]], &[], "http://[::1]:80/metrics");
    }

    #[test]
    fn parameters_are_sorted_and_the_label_replaces_the_first_value() {
        let params: [(&str, &[&str]); 2] = [("z", &["1", "2"]), ("a", &["x y/&"])];
        check(&BASE, &params, "http://h:9100/metrics?a=x+y%2F%26&z=1&z=2");
        let labels = [BASE[0], BASE[1], BASE[2], ("__param_z", "9"), ("__param_new", "n")];
        check(&labels, &params, "http://h:9100/metrics?a=x+y%2F%26&new=n&z=9&z=2");
    }
}
